import { beforeEach } from 'vitest'

// Set up by vitest.config.ts where there is no addon: a test that fails because it asked for it is one that needs it.

const ASKED_FOR_IT = /ADDON_UNAVAILABLE|native addon is not available|ONECOPY_HEAP/

beforeEach(({ onTestFailed }) => {
  onTestFailed(({ task, skip }) => {
    if (task.result?.errors?.some(askedForIt)) skip('needs the native addon, which is not here')
  })
})

interface Failure {
  readonly message?: string
  readonly actual?: unknown
  readonly code?: unknown
  readonly causeCode?: unknown
  readonly cause?: Failure
}

function askedForIt(error: Failure): boolean {
  const { message, actual, code, causeCode, cause } = error
  return ASKED_FOR_IT.test(`${message} ${actual} ${code} ${causeCode}`) || (cause !== undefined && askedForIt(cause))
}
