import { retireFrom } from '@onecopy/client'
import { print } from '../terminal/print.ts'
import { displayName } from '../terminal/text.ts'
import { QUESTIONS } from './questions.ts'

/** Takes a name off a running coordinator. */
export async function retire(name: string, { socket }: { readonly socket?: string }): Promise<void> {
  await retireFrom(name, { ...(socket !== undefined && { socket }), name: QUESTIONS.retire })
  print([`${displayName(name)} is retired: new clients do not get it, those that hold it keep it`])
}
