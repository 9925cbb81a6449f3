import { readFileSync } from 'node:fs'
import { type Command, createCommand, Option } from 'commander'
import { addServed } from './commands/serve/served-checkpoint.ts'
import {
  parseBudget,
  parseClients,
  parseDemoSize,
  parseGroups,
  parseId,
  parseIds,
  parseMilliseconds,
  parsePlaces,
  parseProcesses,
  parseReaders,
  parseSize,
  parseSocket,
  parseSource,
  parseThreads,
  parseTrials,
} from './option-values.ts'
import { printable } from './terminal/printable.ts'

const CHECKPOINT =
  'a folder, a .safetensors file, a shard index, or hf:org/name[/sub-folder][@revision] in the local cache'
const OR_SHARDS = `${CHECKPOINT}; or the list of its shards`

const EXAMPLES = `
Examples:
  onecopy demo                                    on a generated checkpoint of 1 GiB
  onecopy demo ~/models/mistral-7b --threads 8
  onecopy inspect ~/models/mistral-7b --tensors '*.layers.0.*' --sort size
  onecopy verify hf:mistralai/Mistral-7B-v0.1 --deep
  onecopy plan ~/models/mistral-7b --tp 4 --explain
  onecopy bench ~/models/mistral-7b --html report.html
  onecopy serve mistral=~/models/mistral-7b --backing sealed --budget 32GiB
  onecopy run --checkpoint mistral -- node server.js
`

/** The whole command line. What a command does is only loaded when it runs, so that help and mistakes answer at once. */
export function buildProgram(): Command {
  const program = createCommand('onecopy')
    .description('One copy of the weights, every worker: shared safetensors checkpoints.')
    .version(packageVersion(), '-v, --version', 'show the version')
    .helpOption('-h, --help', 'show help')
    .helpCommand(false)
    .configureOutput({ outputError: (text, write) => write(printableLines(text.replace(/^error: /, 'onecopy: '))) })
    .exitOverride()
    // Options after the program that `run` starts are that program's.
    .enablePositionalOptions()
    .addHelpText('after', EXAMPLES)
  addFileCommands(program)
  addPlan(program)
  addServe(program)
  addCoordinatorCommands(program)
  addRun(program)
  addDemo(program)
  addBench(program)
  addHelp(program)
  // What commander itself calls it.
  program.version(packageVersion(), '-V').options.at(-1)?.hideHelp()
  return program
}

function addFileCommands(program: Command): void {
  program
    .command('inspect')
    .description('show what a checkpoint holds, from its headers alone')
    .argument('<checkpoint...>', OR_SHARDS, parseSource)
    .option('--json', 'everything, with exact numbers, as one JSON object')
    .option('--tensors <glob>', 'list only tensors whose whole name matches: * (no dots) ** ? {a,b}')
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
    .argument('<checkpoint...>', OR_SHARDS, parseSource)
    .option('--deep', 'also read every byte, and show the sha256 of each tensor')
    .option('--json', 'the result as one JSON object')
    .addOption(variantOption())
    .addOption(preferOption())
    .action(async (checkpoint, options) => {
      const { verify } = await import('./commands/verify.ts')
      if (!(await verify(checkpoint, options))) process.exitCode = 1
    })
}

function addPlan(program: Command): void {
  program
    .command('plan')
    .description('decide which worker gets which tensors and slices, from headers alone')
    .argument(
      '<checkpoint...>',
      `${OR_SHARDS}; or what \`onecopy inspect --json\` printed where the checkpoint is`,
      parseSource,
    )
    .option('--tp <count>', 'tensor parallel: workers that share each layer', parsePlaces)
    .option('--pp <count>', 'pipeline stages: runs of layers', parsePlaces)
    .option('--ep <count>', 'expert parallel: workers that share the experts', parsePlaces)
    .option('--replicas <count>', 'workers that hold the same', parsePlaces)
    .option('--hosts <file>', 'hosts and workers as JSON (default: one host with as many workers as it takes)')
    .option(
      '--policy <file>',
      'rules as JSON, or a preset: llama, qwen, qwen-moe, mixtral, deepseek (default: by names)',
    )
    .option('--config <file>', "the model's config.json, for heads and vocabulary (default: beside the checkpoint)")
    .addOption(
      new Option('--objective <what>', 'what decides where the rules leave a choice').choices([
        'balanced',
        'min-peak',
        'sequential',
        'sticky',
      ]),
    )
    .option('--explain [glob]', 'say why; with a glob, also where each tensor whose name matches goes')
    .option('--diff <file>', 'also say what has to move from an earlier plan (what --json printed)')
    .option('--json', 'the plan itself, or with --diff what has to move, as JSON')
    .addOption(variantOption())
    .addOption(preferOption())
    .action(async (checkpoint, options) => {
      const { plan } = await import('./commands/plan.ts')
      await plan(checkpoint, options)
    })
}

function addServe(program: Command): void {
  program
    .command('serve')
    .description('own checkpoints on this host, so that processes can attach to one copy of each')
    .argument('<checkpoints...>', `[name=]<checkpoint>: ${CHECKPOINT}; its name is the folder's or file's`, addServed)
    .addOption(socketOption())
    .addOption(backingOption())
    .option(
      '--budget <bytes>',
      'the most RAM that sealed and pinned checkpoints may hold, such as 32GiB, or none for no limit (default: what the machine and its control groups allow)',
      parseBudget,
    )
    .option('--strict', 'serve nothing when one of the checkpoints cannot be served')
    .option('--pin', 'never give these up for want of room; lock those with file backing in RAM')
    .option('--on-demand', 'only validate now, and load when somebody asks')
    .option('--allow-uid <uid,...>', "users whose processes may attach, beside this process's user and root", parseIds)
    .option('--allow-gid <gid,...>', 'groups whose members may attach', parseIds)
    .option('--group <gid>', 'group that the socket is given to, and whose members may attach', parseId)
    .option('--publishers <uid,...>', 'users whose processes may also publish and retire', parseIds)
    .option('--publisher-group <gid,...>', 'groups whose members may also publish and retire', parseIds)
    .option('--max-clients <n>', 'the most processes that may be attached at a time (default: 1024)', parseClients)
    .option(
      '--hand-back-ms <ms>',
      'how long to wait for clients of the coordinator before to hand sealed memory back (default: 3000)',
      parseMilliseconds,
    )
    .addOption(
      new Option(
        '--when-written <what>',
        'when somebody opens a mapped file for writing: log it, seal a copy first, or not',
      )
        .choices(['warn', 'seal', 'ignore'])
        .default('warn'),
    )
    .option('--quiet', 'do not log what happens')
    .action(async (checkpoints, options) => {
      const { serve } = await import('./commands/serve.ts')
      await serve(checkpoints, options)
    })
}

function addCoordinatorCommands(program: Command): void {
  program
    .command('status')
    .description('show what a coordinator holds, and for whom; exit code 1 when there is none')
    .addOption(socketOption())
    .option('--json', 'everything as one JSON object; with --watch one on each line')
    .option('--watch', 'again every second, until Ctrl-C')
    .option('--residency', 'also measure what is in RAM, which takes a while (of large checkpoints by samples)')
    .option('--health', 'only whether it is there and ready, with its process and version; answers at once')
    .action(async (options) => {
      const { status } = await import('./commands/status.ts')
      await status(options)
    })
  program
    .command('publish')
    .description('publish a checkpoint, or a new version of it, with a running coordinator')
    .argument('<name>', 'what clients call it')
    .argument('<checkpoint...>', OR_SHARDS, parseSource)
    .addOption(socketOption())
    .addOption(backingOption())
    .option('--pin', 'never give it up for want of room; with file backing lock it in RAM')
    .option('--on-demand', 'only validate now, and load when somebody asks')
    .action(async (name, checkpoint, options) => {
      const { publish } = await import('./commands/publish.ts')
      await publish(name, checkpoint, options)
    })
  program
    .command('retire')
    .description('take a checkpoint off; those who hold it keep it')
    .argument('<name>', 'what clients call it')
    .addOption(socketOption())
    .action(async (name, options) => {
      const { retire } = await import('./commands/retire.ts')
      await retire(name, options)
    })
}

function addRun(program: Command): void {
  program
    .command('run')
    .description('start a program that finds the coordinator and the checkpoint in its environment')
    .usage('[options] -- <program> [args...]')
    .argument('<program>', 'the program to start')
    .argument('[args...]', 'its arguments')
    .option('--checkpoint <name>', 'what attach() takes by default; where the coordinator has only one, that one')
    .addOption(socketOption())
    .passThroughOptions()
    .action(async (name, args, options) => {
      const { run } = await import('./commands/run.ts')
      process.exitCode = await run(name, args, options)
    })
}

function addDemo(program: Command): void {
  program
    .command('demo')
    .description('let threads and processes read one copy of a checkpoint, and show times, checksums and memory')
    .argument('[checkpoint...]', `${OR_SHARDS}; without one, one is generated`, parseSource)
    .option('--threads <count>', 'threads of this process that read the weights', parseThreads, 4)
    .option('--processes <count>', 'further processes that attach to them', parseProcesses, 3)
    .addOption(backingOption())
    .addOption(
      new Option('--size <bytes>', 'size of the generated checkpoint, such as 256MiB')
        .argParser(parseDemoSize)
        .default(2 ** 30, '1GiB'),
    )
    .option('--keep', 'keep the generated checkpoint')
    .option('--json', 'the figures as one JSON object')
    .addOption(variantOption())
    .addOption(preferOption())
    .action(async (checkpoint, options) => {
      const { demo } = await import('./commands/demo.ts')
      // No word at all is an empty list.
      if (!(await demo(checkpoint.length === 0 ? undefined : checkpoint, options))) process.exitCode = 1
    })
}

function addBench(program: Command): void {
  program
    .command('bench')
    .description('measure a checkpoint on this machine: cold start, attaching, and memory that readers share')
    .argument('<checkpoint...>', OR_SHARDS, parseSource)
    .option('--trials <count>', 'trials behind each figure', parseTrials, 5)
    .option('--readers <count>', 'the most threads and processes that share the weights', parseReaders, 4)
    .option('--only <groups>', 'some of cold-start, attach, sharing, separated by commas', parseGroups)
    .option('--limit <bytes>', 'measure only the first tensors, of so many bytes together, such as 4GiB', parseSize)
    .option('--json', 'the figures as one JSON object')
    .option('--html <file>', 'also write them as a page that needs no other file')
    .addOption(variantOption())
    .addOption(preferOption())
    .action(async (checkpoint, options) => {
      const { bench } = await import('./commands/bench.ts')
      await bench(checkpoint, options)
    })
}

/** One of our own: commander's says nothing of a command that there is none of. */
function addHelp(program: Command): void {
  program
    .command('help')
    .description('show help for a command')
    .argument('[command]', 'which')
    .action((name: string | undefined) => {
      const command = name === undefined ? program : program.commands.find((each) => each.name() === name)
      if (command === undefined) program.error(`error: unknown command '${name}'`)
      else command.help()
    })
}

function socketOption(): Option {
  return new Option(
    '--socket <path>',
    "the coordinator's socket (default: ONECOPY_SOCKET, else this user's)",
  ).argParser(parseSocket)
}

function backingOption(): Option {
  const description = 'file: the page cache, without a copy; sealed: a copy in RAM that nobody can change, cut or evict'
  return new Option('--backing <kind>', description).choices(['file', 'sealed']).default('file')
}

function variantOption(): Option {
  return new Option('--variant <name>', 'the variant in the file names, such as fp16')
}

function preferOption(): Option {
  const description = 'which to open where a folder holds both a shard index and a single file'
  return new Option('--prefer <which>', description).choices(['index', 'single'])
}

function packageVersion(): string {
  return JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')).version
}

function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n')
}
