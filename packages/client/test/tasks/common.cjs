// A task module of the older kind: its exports object is the task function, and has another as a property.
module.exports = (value) => `main ${value}`
module.exports['by another name'] = (value) => `other ${value}`
