import { expect } from 'vitest'

/** What our errors have in common, and what some of them tell. */
export interface Refusal extends Error {
  readonly code: string
  readonly path?: string
  readonly tensor?: string
  readonly checkpoint?: string
  readonly candidates?: readonly string[]
  readonly holders?: readonly object[]
}

/** The error that a call or a promise ends with. */
export async function refusal(action: Promise<unknown> | (() => unknown)): Promise<Refusal> {
  try {
    await (typeof action === 'function' ? action() : action)
  } catch (error) {
    return error as Refusal
  }
  return expect.fail('nothing was refused')
}
