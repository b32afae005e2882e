import { spawn } from 'node:child_process';
import { randomUUID, timingSafeEqual } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join, sep } from 'node:path';

/**
 * A batch service of one machine: runs command lines as process groups, keeps their output in memory, tells how they ended. It answers
 * to whoever has its token, on loopback. `MERIT_RUNNER_TOKEN=… node runner.mjs PORT`.
 */

const PAGE_SIZE = 20;
const GRACE_MS = 2_000;
const BODY_LIMIT_BYTES = 64 * 1024 * 1024;
const LOG_LIMIT_BYTES = 16 * 1024 * 1024;
const TAIL_BYTES = 3_000;
const LONGEST_TIMER_MS = 2 ** 31 - 1;

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export class Runner {
  jobs = new Map();
  /** What a test changes: `full` takes no more jobs, `brokenLists` fail after a page, `word` replaces each state, `skewMs` is the clock's fault. */
  faults = { full: false, brokenLists: false, word: undefined, skewMs: 0 };

  constructor({ token, flavour = 'default', gpus = 0, cpus = availableParallelism() }) {
    Object.assign(this, { token, flavour, gpus, cpuMilli: cpus * 1000 });
    this.server = createServer((request, response) => {
      this.answer(request).then(
        (value) => response.end(Buffer.isBuffer(value) ? value : JSON.stringify(value)),
        (error) => response.writeHead(error.status ?? 500).end(error.message),
      );
    });
  }

  async listen(port = 0) {
    await new Promise((resolve) => this.server.listen(port, '127.0.0.1', resolve));
    return `http://127.0.0.1:${this.server.address().port}`;
  }

  async close() {
    for (const job of this.jobs.values()) this.kill(job, 'SIGKILL');
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
    await Promise.all([...this.jobs.values()].map((job) => rm(job.folder, { recursive: true, force: true })));
  }

  async answer(request) {
    const given = Buffer.from(request.headers.authorization ?? '');
    const right = Buffer.from(`Bearer ${this.token}`);
    if (given.length !== right.length || !timingSafeEqual(given, right)) throw new Refused(401, 'the token is wrong');
    const url = new URL(request.url, 'http://localhost');
    const [, first, name, verb] = url.pathname.split('/');
    if (first === 'capacity') return this.capacity();
    if (first !== 'jobs') throw new Refused(404, 'there is no such thing');
    if (request.method === 'POST' && name === undefined) return this.view(await this.submit(await bodyOf(request)));
    if (name === undefined) return this.list(url.searchParams);
    const job = this.jobs.get(name);
    if (request.method === 'GET' && verb === undefined) return { job: job === undefined ? null : this.view(job) };
    if (job === undefined) throw new Refused(404, `there is no job ${name}`);
    if (verb === 'log') return this.log(job, url.searchParams);
    if (verb === 'notice' || verb === 'end') return this.stop(job, verb);
    throw new Refused(404, `${verb} is none of notice, end, log`);
  }

  capacity() {
    const held = [...this.jobs.values()].filter((job) => job.state === 'running');
    const sum = (name) => held.reduce((all, job) => all + job[name], 0);
    const { flavour, gpus, cpuMilli } = this;
    return { flavour, gpus, freeGpus: gpus - sum('gpus'), cpuMilli, freeCpuMilli: cpuMilli - sum('cpuMilli') };
  }

  async submit({ name, labels = {}, flavour, command, env, files, gpus, cpuMilli, maxMs }) {
    const known = this.jobs.get(name);
    if (known !== undefined) return known;
    if (typeof name !== 'string' || !/^[A-Za-z0-9_-]{1,128}$/.test(name))
      throw new Refused(400, 'name: A-Z a-z 0-9 _ -');
    if (flavour !== this.flavour) throw new Refused(400, `flavour: this machine is ${this.flavour}`);
    const { freeGpus, freeCpuMilli } = this.capacity();
    if (this.faults.full || gpus > freeGpus || cpuMilli > freeCpuMilli) throw new Refused(507, 'there is no room now');
    const job = {
      name,
      uid: randomUUID(),
      labels,
      gpus,
      cpuMilli,
      state: 'running',
      output: [],
      size: 0,
      startedAtMs: Date.now(),
    };
    // Before anything is waited for: of two at once the second finds it.
    this.jobs.set(name, job);
    try {
      job.folder = await mkdtemp(join(tmpdir(), 'merit-runner-'));
      await writeFiles(job.folder, files);
      this.start(job, command, env, maxMs);
    } catch (error) {
      this.jobs.delete(name);
      throw error;
    }
    return job;
  }

  start(job, command, env, maxMs) {
    const cwd = job.folder;
    const child = spawn('/bin/sh', ['-c', command], {
      cwd,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: process.env.PATH, HOME: cwd, ...env },
    });
    job.pid = child.pid;
    const lease = setTimeout(() => this.kill(job, 'SIGKILL'), Math.min(maxMs, LONGEST_TIMER_MS));
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (bytes) => {
        job.size += bytes.length;
        if (job.size <= LOG_LIMIT_BYTES) job.output.push(bytes);
      });
    child.on('error', (error) => job.output.push(Buffer.from(String(error))));
    child.on('exit', () => this.kill(job, 'SIGKILL'));
    child.on('close', (code) => {
      clearTimeout(lease);
      job.exitCode = code;
      job.endedAtMs = Date.now();
      job.state = job.reclaimed ? 'preempted' : job.stopped ? 'stopped' : code === 0 ? 'succeeded' : 'failed';
    });
  }

  stop(job, how) {
    if (job.state !== 'running') return {};
    if (!job.stopped) this.kill(job, 'SIGTERM');
    job.stopped = true;
    if (how === 'end') job.killer ??= setTimeout(() => this.kill(job, 'SIGKILL'), GRACE_MS);
    return {};
  }

  /** The machine is wanted back. */
  reclaim(name) {
    const job = this.jobs.get(name);
    job.reclaimed = true;
    this.kill(job, 'SIGKILL');
  }

  forget(name) {
    const job = this.jobs.get(name);
    if (job === undefined) return;
    this.kill(job, 'SIGKILL');
    this.jobs.delete(name);
    return rm(job.folder, { recursive: true, force: true });
  }

  kill(job, signal) {
    try {
      if (job.pid !== undefined && job.state === 'running') process.kill(-job.pid, signal);
    } catch (error) {
      if (error.code !== 'ESRCH') throw error;
    }
  }

  list(query) {
    const [label, value, after] = ['label', 'value', 'after'].map((name) => query.get(name) ?? '');
    if (after !== '' && this.faults.brokenLists) throw new Refused(500, 'the list broke off');
    const names = [...this.jobs.keys()].sort().filter((name) => name > after);
    const found = names.map((name) => this.jobs.get(name)).filter((job) => job.labels[label] === value);
    return { jobs: found.slice(0, PAGE_SIZE).map((job) => this.view(job)), more: found.length > PAGE_SIZE };
  }

  log(job, query) {
    const from = Number(query.get('from'));
    return Buffer.concat(job.output).subarray(from, from + Number(query.get('max')));
  }

  view({ name, uid, labels, state, exitCode, startedAtMs, endedAtMs, output }) {
    const told = (atMs) => (atMs === undefined ? undefined : atMs + this.faults.skewMs);
    const tail = Buffer.concat(output.slice(-8)).subarray(-TAIL_BYTES).toString('utf8');
    const times = { startedAtMs: told(startedAtMs), endedAtMs: told(endedAtMs) };
    return { name, uid, labels, state: this.faults.word ?? state, exitCode, ...times, tail };
  }
}

async function bodyOf(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > BODY_LIMIT_BYTES) throw new Refused(413, `more than ${BODY_LIMIT_BYTES} bytes`);
    chunks.push(chunk);
  }
  return JSON.parse(Buffer.concat(chunks).toString('utf8'));
}

async function writeFiles(folder, files) {
  for (const { path, executable, base64 } of files) {
    const target = join(folder, path);
    if (!target.startsWith(folder + sep)) throw new Refused(400, `${path} leaves the folder`);
    await mkdir(dirname(target), { recursive: true });
    await writeFile(target, Buffer.from(base64, 'base64'), { mode: executable ? 0o755 : 0o644 });
  }
}

if (import.meta.main) {
  const token = process.env.MERIT_RUNNER_TOKEN ?? '';
  if (token === '') throw new Error('MERIT_RUNNER_TOKEN: is missing; it keeps others from running commands here');
  const runner = new Runner({ token });
  console.log(await runner.listen(Number(process.argv[2] ?? 0)));
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => void runner.close());
}
