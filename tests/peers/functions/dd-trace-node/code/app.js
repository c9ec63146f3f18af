const tracer = require('dd-trace');
exports.handler = async () => tracer.trace('work', (span) => ({ traced: span !== undefined }));
