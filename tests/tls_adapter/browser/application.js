// An application on Node's own modules: a page, and what the page asks for. It prints its port,
// and then what the page found, a line of JSON each.
'use strict';

const { createHash } = require('node:crypto');
const { createServer } = require('node:http');
const { readFileSync } = require('node:fs');

const page = readFileSync(`${__dirname}/page.html`);
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'; // RFC 6455, section 1.3

const server = createServer(async (request, response) => {
  switch (request.url) {
    case '/':
      return response.setHeader('content-type', 'text/html').end(page);
    case '/echo':
      return request.pipe(response);
    case '/headers':
      return response.setHeader('content-type', 'application/json').end(JSON.stringify(request.headers));
    case '/events': {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      let count = 0;
      const timer = setInterval(() => response.write(`data: ${++count}\n\n`), 20);
      return response.on('close', () => clearInterval(timer));
    }
    case '/found': {
      const parts = [];
      for await (const part of request) parts.push(part);
      console.log(Buffer.concat(parts).toString());
      return response.end();
    }
    default:
      return response.writeHead(404).end();
  }
});

// Short text frames alone, which is all that the page sends.
server.on('upgrade', (request, socket) => {
  const accept = createHash('sha1').update(request.headers['sec-websocket-key'] + GUID).digest('base64');
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n' +
    `Sec-WebSocket-Accept: ${accept}\r\n\r\n`);
  socket.on('error', () => {});
  socket.on('data', (frame) => {
    const length = frame[1] & 0x7f;
    const mask = frame.subarray(2, 6);
    const text = frame.subarray(6, 6 + length).map((byte, at) => byte ^ mask[at % 4]);
    socket.write(Buffer.concat([Buffer.from([frame[0], length]), text]));
  });
});

server.listen(0, '127.0.0.1', () => console.log(server.address().port));
