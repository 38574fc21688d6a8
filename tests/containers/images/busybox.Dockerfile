FROM scratch
COPY bin /bin
RUN ["/bin/busybox", "--install", "/bin"]
CMD ["/bin/sh"]
