#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { type Command, CommanderError, createCommand, InvalidArgumentError, Option } from 'commander'
import { messageLines } from './terminal/error-message.ts'
import { printable } from './terminal/printable.ts'
import { parseByteLength } from './terminal/units.ts'

/** Exit codes: what was asked for failed, or could not be understood. */
const EXIT_FAILED = 1
const EXIT_MISUSED = 2

/** More threads than the largest hosts have cores. */
const MAX_THREADS = 1024

/** The smallest checkpoint that still has several shards worth the name. */
const MIN_DEMO_BYTES = 8 * 2 ** 20

const CHECKPOINT = 'a folder, a .safetensors file, a shard index, or hf:org/name[@revision] in the local cache'

// A reader that has seen enough (`| head`) closes the pipe; that is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit()
  throw error
})

/** The whole command line. What a command does is only loaded when it runs, so that help and mistakes answer at once. */
function buildProgram(): Command {
  const program = createCommand('onecopy')
    .description('One copy of the weights, every worker: shared safetensors checkpoints.')
    .version(packageVersion(), '-V, --version', 'show the version')
    .helpOption('-h, --help', 'show help')
    .helpCommand(false)
    .configureOutput({ outputError: (text, write) => write(printableLines(text.replace(/^error: /, 'onecopy: '))) })
    .exitOverride()
    .addHelpText('after', EXAMPLES)
  program
    .command('inspect')
    .description('show what a checkpoint holds, from its headers alone')
    .argument('<checkpoint>', CHECKPOINT)
    .option('--json', 'everything, with exact numbers, as one JSON object')
    .option('--tensors <glob>', 'list only tensors whose whole name matches: * ? [abc] {a,b}')
    .addOption(new Option('--sort <order>', 'order of the tensors').choices(['name', 'size', 'file']).default('file'))
    .addOption(variantOption())
    .addOption(preferOption())
    .action(async (checkpoint, options) => {
      const { inspect } = await import('./commands/inspect.ts')
      await inspect(checkpoint, options)
    })
  program
    .command('verify')
    .description('check headers, index and file sizes against each other; exit code 1 when something is wrong')
    .argument('<checkpoint>', CHECKPOINT)
    .option('--deep', 'also read every byte, and show the sha256 of each tensor')
    .option('--json', 'the result as one JSON object')
    .addOption(variantOption())
    .addOption(preferOption())
    .action(async (checkpoint, options) => {
      const { verify } = await import('./commands/verify.ts')
      if (!(await verify(checkpoint, options))) process.exitCode = EXIT_FAILED
    })
  program
    .command('demo')
    .description('let several threads read one copy of a checkpoint, and show times, checksums and memory')
    .argument('[checkpoint]', `${CHECKPOINT}; without one, one is generated`)
    .option('--threads <count>', 'threads that read the weights', parseThreads, 4)
    .addOption(sizeOption())
    .option('--keep', 'keep the generated checkpoint')
    .option('--json', 'the figures as one JSON object')
    .addOption(variantOption())
    .addOption(preferOption())
    .action(async (checkpoint, options) => {
      const { demo } = await import('./commands/demo.ts')
      if (!(await demo(checkpoint, options))) process.exitCode = EXIT_FAILED
    })
  return program
}

const EXAMPLES = `
Examples:
  onecopy demo                                    on a generated checkpoint of 1 GiB
  onecopy demo ~/models/mistral-7b --threads 8
  onecopy inspect ~/models/mistral-7b --tensors '*.layers.0.*' --sort size
  onecopy verify hf:mistralai/Mistral-7B-v0.1 --deep
`

function sizeOption(): Option {
  const option = new Option('--size <bytes>', 'size of the generated checkpoint, such as 256MiB')
  return option.argParser(parseSize).default(2 ** 30, '1GiB')
}

function variantOption(): Option {
  return new Option('--variant <name>', 'the variant in the file names, such as fp16')
}

function preferOption(): Option {
  const description = 'which to open where a folder holds both a shard index and a single file'
  return new Option('--prefer <which>', description).choices(['index', 'single'])
}

function parseThreads(text: string): number {
  const threads = Number(text)
  if (Number.isInteger(threads) && threads >= 1 && threads <= MAX_THREADS) return threads
  throw new InvalidArgumentError(`It must be a whole number from 1 to ${MAX_THREADS}.`)
}

function parseSize(text: string): number {
  const byteLength = parseByteLength(text)
  if (byteLength === null) throw new InvalidArgumentError('It must be a size such as 512MiB, 2GiB or 1.5GB.')
  if (byteLength >= MIN_DEMO_BYTES) return byteLength
  throw new InvalidArgumentError('It must be 8MiB or more.')
}

function packageVersion(): string {
  return JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')).version
}

function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n')
}

try {
  await buildProgram().parseAsync()
} catch (error) {
  if (error instanceof CommanderError) {
    // Commander has said what is wrong; help and version come here too, with code 0.
    process.exitCode = error.exitCode === 0 ? 0 : EXIT_MISUSED
  } else {
    process.stderr.write(`${messageLines(error, process.env['ONECOPY_DEBUG'] === '1').join('\n')}\n`)
    process.exitCode = EXIT_FAILED
  }
}
