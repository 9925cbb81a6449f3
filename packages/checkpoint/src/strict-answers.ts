import { parentPort } from 'node:worker_threads'
import { packError, type StrictAnswer, type StrictQuestion } from './strict-messages.ts'
import { StrictParser } from './strict-parser.ts'

// In the thread that strict-parsing.ts starts: one parser answers one question after another.
const parser = new StrictParser()

parentPort!.on('message', (question: StrictQuestion) => parentPort!.postMessage(answer(question)))

function answer({ method, args }: StrictQuestion): StrictAnswer {
  try {
    const value = method === 'readIndex' ? parser.readIndex(...args) : parser.layOut(...args)
    return { value }
  } catch (error) {
    return { error: packError(error) }
  }
}
