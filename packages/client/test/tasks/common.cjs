// A task module of the older kind: its exports object is the task function, and has another as a property.
module.exports = Object.assign((/** @type {number} */ value) => `main ${value}`, {
  'by another name': (/** @type {number} */ value) => `other ${value}`,
})
