// @ts-check
// A process that does nothing: what a start of Node.js itself takes.
console.log(JSON.stringify({ atNs: `${process.hrtime.bigint()}` }))
