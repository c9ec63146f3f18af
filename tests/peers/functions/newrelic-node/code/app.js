const newrelic = require('newrelic');
exports.handler = newrelic.setLambdaHandler(async () => ({ transaction: newrelic.getTransaction() !== undefined }));
