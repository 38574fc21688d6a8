FROM scratch
COPY . /
RUN ["/bin/busybox", "--install", "-s", "/bin"]
ENV PATH=/bin:/postgresql LANG=C
USER 999:999
CMD ["/bin/sh", "/start"]
