require('node:http').createServer((request, response) => response.end(request.url)).listen(0, '127.0.0.1');
