/** @import { AttemptSpec, FlavourCapacity, Handle, Observation, Offer, OpenContext, Owned, Provider, Usage } from 'merit-provider' */
import { readFile } from 'node:fs/promises';
import {
  checkAttempt,
  checkKey,
  cleanMessage,
  defineProvider,
  ProviderError,
  readWorkdir,
  unknownOptions,
} from 'merit-provider';

/**
 * Merit's jobs on a batch service with an HTTP API. What is the service's own is in the calls; what is the contract's is in their order.
 *
 * @typedef {{ readonly url: string; readonly tokenFile: string }} Config
 * @typedef {{ id: string; state: string; labels: Record<string, string>; exitCode: number | null; message: string; startedAt: string | null; endedAt: string | null; cpuMs: number | null }} Job
 * @typedef {{ method: string; path: string; signal: AbortSignal; changes?: boolean; headers?: Record<string, string>; body?: unknown; silent?: readonly number[] }} Call
 */

const KIND = 'batch-service';
const CAPABILITIES = { migrate: false, spot: true, topology: false, reserve: false, logs: true, resize: false };
/** The service says that its lists may be a minute late. */
const WINDOW_MS = 60_000;
const STOP_LOOK_MS = 500;
const STOP_LIMIT_MS = 120_000;
const PAGES_LIMIT = 10_000;
const WORD_LIMIT = 64;

/** @implements {Provider} */
class BatchService {
  kind = KIND;
  contractVersion = /** @type {const} */ (1);
  capabilities = CAPABILITIES;
  consistencyWindowMs = WINDOW_MS;
  #config;
  #clock;
  #flavours;

  /**
   * @param {Config} config
   * @param {OpenContext} context
   */
  constructor(config, { clock, flavours = [] }) {
    this.#config = config;
    this.#clock = clock;
    this.#flavours = flavours;
  }

  /**
   * @param {AbortSignal} signal
   * @returns {Promise<readonly FlavourCapacity[]>}
   */
  async capacity(signal) {
    const { machines } = await this.#json({ method: 'GET', path: '/v1/machines', signal });
    return machines.map((/** @type {Record<string, string>} */ one) => ({
      flavour: one.name,
      totalGpuMilli: BigInt(one.gpuMilli),
      freeGpuMilli: BigInt(one.freeGpuMilli),
      totalCpuMilli: BigInt(one.cpuMilli),
      freeCpuMilli: BigInt(one.freeCpuMilli),
    }));
  }

  /**
   * The service tells no prices: they are the pool's own.
   *
   * @returns {Promise<readonly Offer[]>}
   */
  async offers() {
    return this.#flavours.map(({ resource, ...offer }) => offer);
  }

  /**
   * The service itself makes one job of an idempotency key, so no race makes two.
   *
   * @param {AttemptSpec} spec
   * @param {AbortSignal} signal
   * @returns {Promise<Handle>}
   */
  async submit(spec, signal) {
    checkAttempt(spec);
    const files = spec.workdir === undefined ? [] : await readWorkdir(spec.workdir, signal);
    const labels = labelsOf(spec);
    const job = await this.#json({
      method: 'POST',
      path: '/v1/jobs',
      signal,
      changes: true,
      headers: { 'idempotency-key': spec.key },
      body: {
        name: spec.key,
        labels,
        command: spec.entrypoint,
        env: spec.env,
        files: files.map(({ path, executable, bytes }) => ({ path, executable, base64: bytes.toString('base64') })),
        machine: spec.flavour,
        nodes: spec.nodes ?? 1,
        gpuMilli: String(spec.resources.gpuMilli),
        cpuMilli: String(spec.resources.cpuMilli),
        memoryBytes: String(spec.resources.memoryBytes),
        maxSeconds: Math.ceil(spec.leaseMs / 1000),
      },
    });
    if (Object.entries(labels).some(([name, value]) => job.labels[name] !== value))
      throw new ProviderError('invalid', `conflict: the job ${spec.key} is another attempt's`);
    return handleOf(job);
  }

  /**
   * @param {string} key
   * @param {AbortSignal} signal
   * @returns {Promise<Observation>}
   */
  async observe(key, signal) {
    const job = await this.#find(key, signal);
    return job === undefined ? { state: 'absent' } : observationOf(job);
  }

  /**
   * @param {string} key
   * @param {number} _deadlineMs the service has no deadline to be told; Merit releases what has not ended by then
   * @param {AbortSignal} signal
   */
  async drain(key, _deadlineMs, signal) {
    const job = await this.#find(key, signal);
    if (job === undefined || !isLive(job)) return;
    await this.#call({ method: 'POST', path: `/v1/jobs/${job.id}/notice`, signal, changes: true, silent: [404, 409] });
  }

  /**
   * @param {string} key
   * @param {AbortSignal} signal
   */
  async release(key, signal) {
    const limitMs = this.#clock.now() + STOP_LIMIT_MS;
    for (;;) {
      const job = await this.#find(key, signal);
      if (job === undefined || !isLive(job)) return;
      if (job.state !== 'stopping')
        await this.#call({
          method: 'POST',
          path: `/v1/jobs/${job.id}/stop`,
          signal,
          changes: true,
          silent: [404, 409],
        });
      if (signal.aborted || this.#clock.now() >= limitMs)
        throw new ProviderError('transient', `${key} is still ${job.state}`, { effect: 'unknown' });
      await this.#clock.sleep(STOP_LOOK_MS, signal);
    }
  }

  /**
   * @param {string} tag
   * @param {AbortSignal} signal
   * @returns {Promise<readonly Owned[]>}
   */
  async list(tag, signal) {
    const jobs = await this.#labelled('merit-tag', tag, signal);
    return jobs.map((job) => ({ key: job.labels['merit-key'] ?? '', handle: handleOf(job), live: isLive(job) }));
  }

  /**
   * @param {string} key
   * @param {number} fromByte
   * @param {number} maxBytes
   * @param {AbortSignal} signal
   * @returns {Promise<Uint8Array>}
   */
  async logs(key, fromByte, maxBytes, signal) {
    const job = await this.#find(key, signal);
    if (job === undefined) throw new ProviderError('not_found', `there is no job ${key}`);
    const path = `/v1/jobs/${job.id}/log?from=${fromByte}&max=${maxBytes}`;
    return this.#call({ method: 'GET', path, signal });
  }

  /**
   * The service counts CPU time from a job's start, and goes on telling it after the end.
   *
   * @param {string} key
   * @param {AbortSignal} signal
   * @returns {Promise<Usage | undefined>}
   */
  async usage(key, signal) {
    const job = await this.#find(key, signal);
    return job === undefined || job.cpuMs === null ? undefined : { cpuMs: job.cpuMs };
  }

  async close() {}

  /**
   * @param {string} key
   * @param {AbortSignal} signal
   */
  async #find(key, signal) {
    checkKey(key);
    const [job] = await this.#labelled('merit-key', key, signal);
    return job;
  }

  /**
   * Every job with this label, all pages, or an error: what a list lacks would be taken for gone.
   *
   * @param {string} name
   * @param {string} value
   * @param {AbortSignal} signal
   * @returns {Promise<Job[]>}
   */
  async #labelled(name, value, signal) {
    const found = [];
    let cursor = '';
    for (let page = 0; page < PAGES_LIMIT; page++) {
      const query = new URLSearchParams({ label: `${name}=${value}`, cursor });
      const { jobs, next } = await this.#json({ method: 'GET', path: `/v1/jobs?${query}`, signal });
      found.push(...jobs);
      if (next === null) return found;
      cursor = next;
    }
    throw new ProviderError('transient', `a list has more than ${PAGES_LIMIT} pages`);
  }

  /** @param {Call} call */
  async #json(call) {
    const bytes = await this.#call(call);
    try {
      return JSON.parse(bytes.toString('utf8'));
    } catch (cause) {
      const effect = call.changes === true ? 'unknown' : 'none';
      throw new ProviderError('transient', `${call.method} ${call.path} was answered with no JSON`, { effect, cause });
    }
  }

  /** @param {Call} call */
  async #call({ method, path, signal, changes = false, headers = {}, body, silent = [] }) {
    const token = await readFile(this.#config.tokenFile, 'utf8').catch((cause) => {
      throw new ProviderError('auth', `the token file ${this.#config.tokenFile} cannot be read`, { cause });
    });
    const effect = changes ? 'unknown' : 'none';
    try {
      const response = await fetch(new URL(path, this.#config.url), {
        method,
        signal,
        headers: { ...headers, authorization: `Bearer ${token.trim()}`, 'content-type': 'application/json' },
        body: body === undefined ? null : JSON.stringify(body),
      });
      const bytes = Buffer.from(await response.arrayBuffer());
      if (response.ok || silent.includes(response.status)) return bytes;
      throw refusal(response, bytes, effect);
    } catch (cause) {
      if (cause instanceof ProviderError) throw cause;
      // Whether it arrived is not known, unless it only asked.
      throw new ProviderError('transient', cleanMessage(`${method} ${path}: ${cause}`), { effect, cause });
    }
  }
}

/** @param {AttemptSpec} spec */
function labelsOf({ key, tag, bookingId, attempt }) {
  return { 'merit-key': key, 'merit-tag': tag, 'merit-booking': bookingId, 'merit-attempt': String(attempt) };
}

/**
 * @param {Job} job
 * @returns {Handle}
 */
function handleOf(job) {
  return { provider: KIND, id: job.id, uid: undefined };
}

/** A state that has a name never seen before counts as live.
 *
 * @param {Job} job
 */
function isLive(job) {
  return !['succeeded', 'failed', 'stopped', 'preempted'].includes(job.state);
}

/**
 * @param {Job} job
 * @returns {Observation}
 */
function observationOf(job) {
  const handle = handleOf(job);
  switch (job.state) {
    case 'queued':
      return { state: 'pending', handle, message: cleanMessage(job.message) };
    case 'running':
    case 'stopping':
      return { state: 'running', handle, startedAtMs: millis(job.startedAt) };
    case 'succeeded':
    case 'failed':
    case 'stopped':
    case 'preempted':
      return {
        state: 'ended',
        handle,
        outcome: job.state,
        exitCode: job.exitCode ?? undefined,
        message: cleanMessage(job.message),
        startedAtMs: millis(job.startedAt),
        endedAtMs: millis(job.endedAt),
      };
    default:
      return { state: 'unknown-status', handle, word: cleanMessage(job.state).slice(0, WORD_LIMIT) };
  }
}

/** @param {string | null} text */
function millis(text) {
  return text === null ? undefined : Date.parse(text);
}

/**
 * What a refused call means to Merit.
 *
 * @param {Response} response
 * @param {Buffer} bytes
 * @param {'none' | 'unknown'} effect of a call whose outcome the answer does not tell
 */
function refusal({ status, headers }, bytes, effect) {
  let code;
  let text = bytes.toString('utf8');
  try {
    ({ code, message: text } = JSON.parse(text));
  } catch {
    // Something between us and the service answered.
  }
  const message = cleanMessage(`${status}: ${text}`);
  const retryAfterS = Number(headers.get('retry-after') ?? Number.NaN);
  if (status === 401) return new ProviderError('auth', message);
  if (status === 429)
    return new ProviderError('transient', message, retryAfterS >= 0 ? { retryAfterMs: retryAfterS * 1000 } : {});
  if (code === 'out_of_capacity') return new ProviderError('no_capacity', message);
  if (code === 'over_quota') return new ProviderError('quota_exceeded', message);
  if (status >= 400 && status < 500) return new ProviderError(status === 404 ? 'not_found' : 'invalid', message);
  return new ProviderError('transient', message, { effect });
}

export default defineProvider({
  kind: KIND,
  contractVersion: 1,
  capabilities: CAPABILITIES,
  configSchema: {
    type: 'object',
    required: ['url', 'tokenFile'],
    additionalProperties: false,
    properties: {
      url: { type: 'string', pattern: '^https?://', description: 'where the service listens' },
      tokenFile: { type: 'string', description: 'absolute path of the file that holds the token; read at each call' },
    },
  },
  // What a job may ask of this service alone; name yours, and check their values.
  checkOptions: (/** @type {unknown} */ options) => unknownOptions(KIND, [], options),
  open: async (/** @type {Config} */ config, context) => new BatchService(config, context),
  testBackend: () => import('./simulator.js'),
});
