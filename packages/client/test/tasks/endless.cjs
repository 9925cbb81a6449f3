// Never ends; says that it has begun.
const { workerData } = require('node:worker_threads')
Atomics.store(workerData.begun, 0, 1)
for (;;);
