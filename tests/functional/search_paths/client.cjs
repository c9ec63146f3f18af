// Serves events with /var/task/app.cjs: the managed runtime's double for tests.
'use strict';
const { request } = require('http');
const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(':');
const call = (method, path, body) =>
  new Promise((done, fail) => {
    const asked = request({ host, port, method, path: `/2018-06-01/runtime/invocation/${path}` }, (answer) => {
      let text = '';
      answer.on('data', (part) => (text += part)).on('end', () => done({ text, id: answer.headers['lambda-runtime-aws-request-id'] }));
    });
    asked.on('error', fail).end(body);
  });
(async () => {
  const { handler } = require('/var/task/app.cjs');
  for (;;) {
    const event = await call('GET', 'next');
    await call('POST', `${event.id}/response`, JSON.stringify(await handler(JSON.parse(event.text))));
  }
})();
