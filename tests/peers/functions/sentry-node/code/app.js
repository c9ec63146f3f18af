// Errors and traces that the SDK sends to a collector before the answer is given.
const Sentry = require('@sentry/aws-serverless');
Sentry.init({ dsn: 'https://key@collector.example/1', tracesSampleRate: 1 });
exports.handler = Sentry.wrapHandler(async (event) => {
  const began = Date.now();
  const known = Sentry.captureException(new Error('caught'));
  await Sentry.flush(5000);
  return [known.length, Date.now() - began < 4000];
});
