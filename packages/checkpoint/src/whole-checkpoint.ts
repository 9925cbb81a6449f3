import { provideSelectionTools } from './selecting.ts'
import * as tools from './selection-tools.ts'

// Whoever comes by the main entry loads nearly everything, and may select without waiting.
provideSelectionTools(tools)

export { Checkpoint } from './checkpoint.ts'
