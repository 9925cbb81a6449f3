import type { Programs } from './programs.ts'
import type { Subject } from './subject.ts'

/** What every group of figures is measured with. */
export interface Setting {
  readonly subject: Subject
  readonly programs: Programs
  readonly trials: number
  /** The most readers. */
  readonly readers: number
}
