// Plays the Node hook: says by the inherited descriptor that it was loaded.
require('fs').writeSync(Number(process.env.RINGFENCE_REPORT_FD), 'the hook');
