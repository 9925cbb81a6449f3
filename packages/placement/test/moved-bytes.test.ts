import fc from 'fast-check'
import { expect, test } from 'vitest'
import { movedBytes } from '../src/moved-bytes.ts'
import { planPlacement } from '../src/plan-placement.ts'
import { elementsOf, holdersOf, meshes, randomModels, topologyFor } from './random-models.ts'
import { indexOf } from './real-headers.ts'

test('movedBytes() is what hosts need and lack, element by element', () => {
  const drawn = meshes.chain((mesh) => randomModels(mesh).map((model) => ({ mesh, model })))
  const picks = fc.array(fc.tuple(fc.nat(), fc.nat(), fc.nat()), { maxLength: 20 })
  fc.assert(
    fc.property(drawn, picks, ({ mesh, model }, picked) => {
      const bare = topologyFor(mesh, 3)
      const index = indexOf(model.listed)
      const { data } = planPlacement(index, bare, model.policy)
      const holds = bare.hosts.map((): { name: string; part: number }[] => [])
      for (const [host, tensor, part] of picked) {
        const { name, parts } = data.tensors[tensor % data.tensors.length]!
        holds[host % holds.length]!.push({ name, part: part % parts.length })
      }
      const byName = new Map(data.tensors.map((tensor) => [tensor.name, tensor]))
      const hosts = bare.hosts.map((host, at) => ({
        ...host,
        holds: holds[at]!.map(({ name, part }) => ({ name, ranges: byName.get(name)!.parts[part]!.ranges })),
      }))
      let expected = 0
      for (const tensor of data.tensors) {
        const elements = [...elementsOf(tensor.shape)]
        for (const [at, { name: host }] of hosts.entries()) {
          const has = holds[at]!.filter(({ name }) => name === tensor.name)
          const lacking = elements.filter((element) => {
            const needed = holdersOf(tensor, element).some((worker) => data.workers[worker]!.host === host)
            return needed && !has.some(({ part }) => holdersOf({ parts: [tensor.parts[part]!] }, element).length > 0)
          })
          expected += (lacking.length * (tensor.end - tensor.begin)) / Math.max(elements.length, 1)
        }
      }
      expect(movedBytes(data, { ...bare, hosts })).toBeCloseTo(expected, 5)
    }),
    { numRuns: 60 },
  )
})

test('movedBytes() is all unique bytes where nothing is held, and nothing where a plan is held', () => {
  const mesh = { pp: 2, tp: 2, ep: 1, replicas: 2 }
  const topology = topologyFor(mesh, 2)
  const index = indexOf([
    ['l.0', 'F32', [4, 4]],
    ['l.1', 'F32', [4, 4]],
  ])
  const plan = planPlacement(index, topology, {
    mesh,
    rules: [{ match: 'l.{layer}', split: { dimension: 1, axis: 'tp' } }],
  })
  expect(movedBytes(plan.data, topology)).toBe(4 * 64)
  const hosts = topology.hosts.map((host) => ({ ...host, holds: plan.holdings(host.name) }))
  expect(movedBytes(plan.data, { ...topology, hosts })).toBe(0)
})
