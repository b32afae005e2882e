import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { StampedLog } from './stamped-log.ts';

/** All processes of a container have this variable, by which they are found. */
const MARK = 'MERIT_TEST_CONTAINER';
/** As the kubelet takes of a log where a container left no message. */
const MESSAGE_BYTES = 2048;
const MESSAGE_LINES = 80;

export interface ContainerEnd {
  readonly exitCode: number;
  readonly finishedAtMs: number;
}

/** A container's command as processes of this machine. The first of them is what its process 1 would be: when that ends, the others are killed. */
export class KubeletContainer {
  readonly log: StampedLog;
  readonly startedAtMs: number;
  readonly ended: Promise<ContainerEnd>;
  end: ContainerEnd | undefined;
  readonly #id: string;
  readonly #first: ChildProcess;

  constructor(
    id: string,
    command: readonly string[],
    options: { readonly cwd: string; readonly env: Readonly<Record<string, string>>; readonly now: () => number },
  ) {
    const { cwd, env, now } = options;
    this.#id = id;
    this.log = new StampedLog(now);
    this.startedAtMs = now();
    const [program = '', ...args] = command;
    this.#first = spawn(program, args, {
      cwd,
      env: { PATH: process.env.PATH ?? '', HOME: cwd, ...env, [MARK]: id },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    for (const stream of [this.#first.stdout, this.#first.stderr])
      stream?.on('data', (chunk: Buffer) => this.log.append(chunk));
    this.ended = new Promise((resolve) => {
      const over = (exitCode: number) => {
        this.end = { exitCode, finishedAtMs: now() };
        resolve(this.end);
      };
      this.#first.on('error', () => over(128));
      // What it left behind may hold the output open: it is killed first.
      this.#first.on('exit', (code, signal) => {
        this.kill();
        this.#first.on('close', () => over(code ?? (signal === 'SIGKILL' ? 137 : 143)));
      });
    });
  }

  get isRunning(): boolean {
    return this.end === undefined;
  }

  terminate(): void {
    this.#first.kill('SIGTERM');
  }

  kill(): void {
    for (const pid of this.#processes()) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended meanwhile.
      }
    }
  }

  /** What a kubelet tells of a failure where the container wrote no message of its own. */
  lastWords(): string {
    const tail = this.log.tail(MESSAGE_BYTES).toString('utf8');
    return tail.split('\n').slice(-MESSAGE_LINES).join('\n');
  }

  #processes(): readonly number[] {
    const mark = `${MARK}=${this.#id}`;
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .filter((pid) => {
        try {
          return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(mark);
        } catch {
          return false;
        }
      })
      .map(Number);
  }
}
