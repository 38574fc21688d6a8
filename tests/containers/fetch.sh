#!/bin/sh
# Under busybox' httpd: fetches the address after the question mark, and answers what came of it.
said=$(wget -q -O - "$QUERY_STRING" 2>&1)
printf 'Content-Type: text/plain\r\nContent-Length: %s\r\n\r\n%s' "${#said}" "$said"
