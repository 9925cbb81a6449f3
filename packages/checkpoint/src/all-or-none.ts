/** What is being made, all of it, or the first failure, with nothing left open. */
export async function allOrNone<Made extends { close(): void }>(making: readonly Promise<Made>[]): Promise<Made[]> {
  const results = await Promise.allSettled(making)
  const failed = results.find((result) => result.status === 'rejected')
  const made = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  if (failed === undefined) return made
  for (const each of made) each.close()
  throw failed.reason
}
