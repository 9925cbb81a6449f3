import { expect, it } from 'vitest'
import { formatTaskName, parseTaskName } from '../src/task-name.ts'

it.each(['default', 'a', 'two words', ''])('parseTaskName() gives back what formatTaskName() was given: %j', (name) => {
  const task = { name, url: 'file:///folder%20with%20space/task.mjs?version=2' }
  expect(parseTaskName(formatTaskName(task))).toEqual(task)
})
