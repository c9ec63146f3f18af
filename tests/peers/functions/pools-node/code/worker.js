process.on('message', (number) => process.send(number * number));
