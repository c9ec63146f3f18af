const { trace } = require('@opentelemetry/api');
exports.handler = async () => ({ traced: trace.getActiveSpan() !== undefined });
