import { expect, it } from 'vitest'
import { type Coordinator, startCoordinator } from '../src/coordinator.ts'
import { refusal, temporarySocket } from './support.ts'

type Call = (coordinator: Coordinator) => unknown

const wrong: readonly [string, Call, ErrorConstructor, RegExp][] = [
  ['publish(7)', (c) => c.publish(7 as never, '/a'), TypeError, /name that publish\(\) was given is 7/],
  ['publish("a", null)', (c) => c.publish('a', null as never), TypeError, /source .* must be a path/],
  ['publish("a", [1])', (c) => c.publish('a', [1] as never), TypeError, /source/],
  ['publish with an unknown option', (c) => c.publish('a', '/a', { bakcing: 'file' } as never), TypeError, /"bakcing"/],
  ['publish to heap', (c) => c.publish('a', '/a', { backing: 'heap' as never }), RangeError, /one of file, sealed/],
  ['publish pinned: 1', (c) => c.publish('a', '/a', { pinned: 1 as never }), TypeError, /option pinned/],
  ['publish load: later', (c) => c.publish('a', '/a', { load: 'later' as never }), RangeError, /option load/],
  ['publish priority: -1', (c) => c.publish('a', '/a', { priority: -1 }), RangeError, /option priority/],
  ['publish signal: {}', (c) => c.publish('a', '/a', { signal: {} as never }), TypeError, /option signal/],
  ['retire()', (c) => c.retire(undefined as never), TypeError, /name that retire\(\)/],
  ['status({ residency: 1 })', (c) => c.status({ residency: 1 as never }), TypeError, /option residency/],
  ['status({ all: true })', (c) => c.status({ all: true } as never), TypeError, /has no option "all"/],
  ['close(7)', (c) => c.close(7 as never), TypeError, /reason/],
  ['close() with a long reason', (c) => c.close('x'.repeat(300)), RangeError, /256 bytes/],
]

it.each(wrong)('%s is refused by name, and the coordinator serves on', async (_, call, kind, text) => {
  await using coordinator = await startCoordinator({ socket: temporarySocket() })
  const error = await refusal(async () => call(coordinator))
  expect(error).toBeInstanceOf(kind)
  expect(error.message).toMatch(text)
  expect((await coordinator.status()).checkpoints).toEqual([])
})

it.each([[{ budgetBytes: -1 }], [{ budgetBytes: 0.5 }], [{ budgetBytes: '1GiB' }]])(
  'startCoordinator() refuses %j',
  async (options) => {
    const error = await refusal(startCoordinator({ socket: temporarySocket(), ...options } as never))
    expect(error.message).toMatch(/option budgetBytes .* must be a whole number of bytes, 0 or more, or null/)
  },
)

it.each(['', 'a\0b'])('startCoordinator() refuses the socket %j', async (socket) => {
  const error = await refusal(startCoordinator({ socket }))
  expect(error).toBeInstanceOf(RangeError)
  expect(error.message).toMatch(/option socket .* must be the path of a unix socket/)
})

it('startCoordinator() has no budget where that is asked for', async () => {
  await using coordinator = await startCoordinator({ socket: temporarySocket(), budgetBytes: null })
  expect(await coordinator.status()).toMatchObject({ budgetBytes: null, budgetFrom: '' })
})
