// The managed Node runtimes start this file without arguments; the client takes the handler as its first one.
process.argv.splice(2, 0, process.env._HANDLER);
await import('./node_modules/aws-lambda-ric/ENTRY');
process.argv.splice(2, 1);
