FROM scratch
COPY bin /bin
COPY tmp /tmp
RUN ["/bin/busybox", "--install", "-s", "/bin"]
ENV PATH=/bin
USER 100:1000
ENTRYPOINT ["vault"]
