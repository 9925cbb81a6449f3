import { retireFrom } from '@onecopy/client'
import { displayName } from '../terminal/text.ts'
import { QUESTIONS } from './questions.ts'

/** Takes a name off a running coordinator. */
export async function retire(name: string, { socket }: { readonly socket?: string }): Promise<void> {
  await retireFrom(name, { ...(socket !== undefined && { socket }), name: QUESTIONS.retire })
  process.stdout.write(`${displayName(name)} is retired: new clients do not get it, those that hold it keep it\n`)
}
