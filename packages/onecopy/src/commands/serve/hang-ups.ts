import { closeSync, openSync } from 'node:fs'

/**
 * SIGHUP says two things: by custom it asks a service to look at its files again, and the kernel sends it when the terminal goes
 * in which a program was started. Who closes the terminal wants the program gone.
 */
export class HangUps {
  /** Called when somebody asks. */
  onAsked: () => void = () => {}
  /** Resolves when the terminal has gone; never where there was none. */
  readonly terminalGone: Promise<'SIGHUP'>

  constructor() {
    const inTerminal = [process.stdin, process.stdout, process.stderr].some(({ isTTY }) => isTTY)
    this.terminalGone = new Promise((resolve) => {
      process.on('SIGHUP', () => {
        if (inTerminal && !hasTerminal()) resolve('SIGHUP')
        else this.onAsked()
      })
    })
  }
}

/** Whether this process still has a terminal; one that has gone cannot be opened any more. */
function hasTerminal(): boolean {
  try {
    closeSync(openSync('/dev/tty', 'r'))
    return true
  } catch {
    return false
  }
}
