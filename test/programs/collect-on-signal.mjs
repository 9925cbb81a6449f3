// Loaded before somebody else's program: it collects garbage on SIGUSR2, and ends the program with the test.
process.on('SIGUSR2', () => globalThis.gc?.())
process.on('disconnect', () => process.exit())
process.channel?.unref()
