// A thread that is ended in the midst of this require() ends the process.
module.exports = require('./required.mjs').default
