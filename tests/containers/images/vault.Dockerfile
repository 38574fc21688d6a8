FROM scratch
COPY bin /bin
COPY tmp /tmp
RUN ["/bin/busybox", "--install", "-s", "/bin"]
ENV PATH=/bin
USER 100:1000
# As the official image has them.
VOLUME ["/vault/logs", "/vault/file"]
ENTRYPOINT ["vault"]
