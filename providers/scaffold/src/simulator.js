/** @import { IncomingMessage, Server, ServerResponse } from 'node:http' */
/** @import { ProviderClock, TestBackend } from 'merit-provider' */
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { defineTestBackend } from 'merit-provider';
import { simulateKitJob } from 'merit-provider/kit';

/**
 * A simulator of the batch service, which runs nothing: its jobs do what the conformance kit says in their environment. It answers as
 * the service does where all is well, and shows each fault that the kit asks for.
 *
 * @typedef {{ id: string; name: string; labels: Record<string, string>; env: Record<string, string>; files: { path: string; executable: boolean; base64: string }[]; cpuMilli: bigint; createdAtMs: number; startAtMs: number; visibleAtMs: number; noticeAtMs?: number; killAtMs?: number; preemptedAtMs?: number }} Job
 */

const PAGE_SIZE = 5;
const CPU_MILLI = 16_000n;
const STOP_GRACE_MS = 10_000;
/** Of one CPU, which each job keeps busy. */
const CPU_SHARE = 0.5;
const MESSAGE_CHARS = 32_768;
const FLAVOUR = {
  flavour: 'small',
  resource: /** @type {const} */ ('cpu'),
  spot: true,
  currency: 'USD',
  centsPerUnitHour: 12n,
};

/** @implements {TestBackend} */
class Simulator {
  flavour = FLAVOUR;
  pageSize = PAGE_SIZE;
  config = { url: '', tokenFile: '' };
  /** @type {Map<string, Job>} by id, in the order of submission */
  #jobs = new Map();
  #clock;
  #server;
  #port = 0;
  #token = randomBytes(8).toString('hex');
  /** Of the reply to the next submit: lost, stalled or torn. */
  #nextReply = '';
  /** @type {{ hangs?: boolean; refusal?: string; retryAfterMs?: number; hideMs?: number; startMs?: number; denial?: string; tearsList?: boolean; word?: string }} */
  #faults = {};
  #skewMs = 0;

  /**
   * @param {ProviderClock} clock
   * @param {string} stateDir
   */
  constructor(clock, stateDir) {
    this.#clock = clock;
    this.config.tokenFile = join(stateDir, 'token');
    this.#server = createServer((request, response) => {
      this.#answer(request, response).catch(() => request.socket.destroy());
    });
  }

  async start() {
    await writeFile(this.config.tokenFile, this.#token);
    await this.#listen();
    this.config.url = `http://127.0.0.1:${this.#port}`;
    return this;
  }

  async close() {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** @param {string} key */
  live(key) {
    return [...this.#jobs.values()].filter((job) => job.name === key && !this.#view(job).endedAt).length;
  }

  loseReply() {
    this.#nextReply = 'lost';
  }

  stallReply() {
    this.#nextReply = 'stalled';
  }

  tearReply() {
    this.#nextReply = 'torn';
  }

  hang() {
    this.#faults.hangs = true;
  }

  async goAway() {
    await this.close();
  }

  /** @param {string} text */
  refuse(text) {
    this.#faults.refusal = text;
  }

  /** @param {number} retryAfterMs */
  throttle(retryAfterMs) {
    this.#faults.retryAfterMs = retryAfterMs;
  }

  expireAuth() {
    this.#token = randomBytes(8).toString('hex');
  }

  denyCapacity() {
    this.#faults.denial = 'out_of_capacity';
  }

  denyQuota() {
    this.#faults.denial = 'over_quota';
  }

  /** @param {number} forMs */
  hideNew(forMs) {
    this.#faults.hideMs = forMs;
  }

  /** @param {number} ms */
  slowStart(ms) {
    this.#faults.startMs = ms;
  }

  tearList() {
    this.#faults.tearsList = true;
  }

  /** @param {string} word */
  showStatus(word) {
    this.#faults.word = word;
  }

  /** @param {number} ms */
  skewClock(ms) {
    this.#skewMs = ms;
  }

  async heal() {
    this.#faults = {};
    this.#skewMs = 0;
    await writeFile(this.config.tokenFile, this.#token);
    if (!this.#server.listening) await this.#listen();
  }

  /** @param {string} key */
  plantForeign(key) {
    this.#add({ name: key, labels: {}, env: { MERIT_KIT_STEPS: '1000000' }, files: [], cpuMilli: '0' });
  }

  /** @param {string} key */
  preempt(key) {
    for (const job of this.#jobs.values()) if (job.name === key) job.preemptedAtMs = this.#clock.now();
  }

  /** @param {string} key */
  forget(key) {
    for (const [id, job] of this.#jobs) if (job.name === key) this.#jobs.delete(id);
  }

  async #listen() {
    await new Promise((resolve) => this.#server.listen(this.#port, '127.0.0.1', () => resolve(undefined)));
    const address = this.#server.address();
    this.#port = typeof address === 'object' && address !== null ? address.port : 0;
  }

  /**
   * @param {IncomingMessage} request
   * @param {ServerResponse} response
   */
  async #answer(request, response) {
    const body = [];
    for await (const chunk of request) body.push(chunk);
    const { hangs, refusal, retryAfterMs } = this.#faults;
    if (hangs) return;
    const url = new URL(request.url ?? '/', 'http://127.0.0.1');
    if (retryAfterMs !== undefined) {
      response.setHeader('retry-after', String(retryAfterMs / 1000));
      return send(response, 429, { code: 'too_many', message: 'come back later' });
    }
    if (request.headers.authorization !== `Bearer ${this.#token}`)
      return send(response, 401, { code: 'unauthenticated', message: 'the token is not taken' });
    if (refusal !== undefined) return send(response, 400, { code: 'wrong', message: refusal });
    if (request.method === 'POST' && url.pathname === '/v1/jobs') {
      const key = String(request.headers['idempotency-key']);
      return this.#submit(request, response, key, JSON.parse(Buffer.concat(body).toString('utf8')));
    }
    if (url.pathname === '/v1/jobs') return this.#list(response, url.searchParams);
    if (url.pathname === '/v1/machines') return send(response, 200, { machines: [this.#machine()] });
    const [, id = '', verb = ''] = /^\/v1\/jobs\/([^/]+)\/(notice|stop|log)$/.exec(url.pathname) ?? [];
    const job = this.#jobs.get(id);
    if (job === undefined) return send(response, 404, { code: 'unknown', message: `there is no job ${id}` });
    if (verb === 'log') return this.#log(response, job, url.searchParams);
    if (this.#view(job).endedAt) return send(response, 409, { code: 'ended', message: `the job ${id} has ended` });
    job.noticeAtMs ??= this.#clock.now();
    if (verb === 'stop') job.killAtMs ??= Math.max(this.#clock.now(), job.startAtMs) + STOP_GRACE_MS;
    return send(response, 202, {});
  }

  /**
   * @param {IncomingMessage} request
   * @param {ServerResponse} response
   * @param {string} idempotencyKey
   * @param {Record<string, any>} asked
   */
  #submit(request, response, idempotencyKey, asked) {
    if (asked.machine !== FLAVOUR.flavour)
      return send(response, 400, { code: 'wrong', message: `there is no machine ${asked.machine}` });
    let job = [...this.#jobs.values()].find((one) => one.labels['idempotency-key'] === idempotencyKey);
    if (job === undefined) {
      const { denial } = this.#faults;
      if (denial !== undefined) return send(response, 503, { code: denial, message: 'not now' });
      job = this.#add({ ...asked, labels: { ...asked.labels, 'idempotency-key': idempotencyKey } });
    }
    const how = this.#nextReply;
    this.#nextReply = '';
    if (how === 'lost') return request.socket.destroy();
    if (how === 'stalled') return;
    if (how === 'torn') return response.writeHead(201, { 'content-type': 'application/json' }).end('{"id": "jo');
    return send(response, 201, this.#view(job));
  }

  /** @param {Record<string, any>} asked */
  #add({ name, labels, env, files, cpuMilli }) {
    const nowMs = this.#clock.now();
    const { hideMs = 0, startMs = 0 } = this.#faults;
    const times = { createdAtMs: nowMs, startAtMs: nowMs + startMs, visibleAtMs: nowMs + hideMs };
    const job = { id: `job-${this.#jobs.size + 1}`, name, labels, env, files, cpuMilli: BigInt(cpuMilli), ...times };
    this.#jobs.set(job.id, job);
    return job;
  }

  /**
   * @param {ServerResponse} response
   * @param {URLSearchParams} query
   */
  #list(response, query) {
    const [name = '', value] = (query.get('label') ?? '').split('=');
    const from = Number(query.get('cursor') ?? 0);
    if (from > 0 && this.#faults.tearsList) return send(response, 500, { code: 'broken', message: 'no more pages' });
    const found = [...this.#jobs.values()].filter(
      (job) => job.visibleAtMs <= this.#clock.now() && (name === 'name' ? job.name : job.labels[name]) === value,
    );
    const jobs = found.slice(from, from + PAGE_SIZE).map((job) => this.#view(job));
    const next = found.length > from + PAGE_SIZE ? String(from + PAGE_SIZE) : null;
    return send(response, 200, { jobs, next });
  }

  /**
   * @param {ServerResponse} response
   * @param {Job} job
   * @param {URLSearchParams} query
   */
  #log(response, job, query) {
    const from = Number(query.get('from'));
    const { output } = this.#run(job);
    response.writeHead(200).end(output.subarray(from, from + Number(query.get('max'))));
  }

  #machine() {
    const held = [...this.#jobs.values()].reduce((all, job) => all + (this.#view(job).endedAt ? 0n : job.cpuMilli), 0n);
    const cpu = { cpuMilli: String(CPU_MILLI), freeCpuMilli: String(CPU_MILLI - held) };
    return { name: FLAVOUR.flavour, gpuMilli: '0', freeGpuMilli: '0', ...cpu };
  }

  /** @param {Job} job */
  #run(job) {
    const nowMs = this.#clock.now();
    if (nowMs < job.startAtMs || (job.noticeAtMs ?? Number.POSITIVE_INFINITY) < job.startAtMs)
      return { output: Buffer.alloc(0), end: undefined };
    const file = (/** @type {string} */ path) => {
      const found = job.files.find((one) => one.path === path);
      return found && { bytes: Buffer.from(found.base64, 'base64'), executable: found.executable };
    };
    return simulateKitJob({ ...job, startedAtMs: job.startAtMs, file }, job.preemptedAtMs ?? nowMs);
  }

  /**
   * The job as the service tells it.
   *
   * @param {Job} job
   */
  #view(job) {
    const { id, name, labels, startAtMs, noticeAtMs, preemptedAtMs } = job;
    const { output, end } = this.#run(job);
    const neverBegan = noticeAtMs !== undefined && noticeAtMs < startAtMs;
    const began = !neverBegan && this.#clock.now() >= startAtMs;
    const endedAtMs = neverBegan ? noticeAtMs : (end?.atMs ?? preemptedAtMs);
    const told = (/** @type {number | undefined} */ atMs) =>
      atMs === undefined ? null : new Date(atMs + this.#skewMs).toISOString();
    const state = neverBegan
      ? 'stopped'
      : end?.by === 'itself'
        ? end.exitCode === 0
          ? 'succeeded'
          : 'failed'
        : end !== undefined
          ? 'stopped'
          : preemptedAtMs !== undefined
            ? 'preempted'
            : began
              ? job.killAtMs === undefined
                ? 'running'
                : 'stopping'
              : 'queued';
    return {
      id,
      name,
      labels,
      state: this.#faults.word ?? state,
      exitCode: end?.exitCode ?? null,
      message: end !== undefined && end.exitCode !== 0 ? output.toString('utf8').slice(-MESSAGE_CHARS) : '',
      createdAt: told(job.createdAtMs),
      startedAt: began ? told(startAtMs) : null,
      endedAt: told(endedAtMs),
      cpuMs: began ? Math.floor(((endedAtMs ?? this.#clock.now()) - startAtMs) * CPU_SHARE) : null,
    };
  }
}

/**
 * @param {ServerResponse} response
 * @param {number} status
 * @param {unknown} value
 */
function send(response, status, value) {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
}

export default defineTestBackend({
  time: 'virtual',
  start: ({ clock, stateDir }) => new Simulator(clock, stateDir).start(),
});
