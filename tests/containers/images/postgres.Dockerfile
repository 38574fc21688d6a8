FROM scratch
COPY . /
RUN ["/bin/busybox", "--install", "-s", "/bin"]
ENV PATH=/bin:/postgresql LANG=C
USER 999:999
# As the official image has it.
VOLUME ["/var/lib/postgresql/data"]
CMD ["/bin/sh", "/start"]
