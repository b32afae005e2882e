import { readFile } from 'node:fs/promises';
import { checkAttempt, checkKey, cleanMessage, defineProvider, ProviderError, readWorkdir } from 'merit-provider';

/** Merit's jobs on machines that run `runner.mjs`. Written from docs/providers.md alone. */

const KIND = 'runner';
const CAPABILITIES = { migrate: false, spot: true, topology: false, reserve: false, logs: true, resize: false };
const LOOK_MS = 200;
const RELEASE_LIMIT_MS = 60_000;
const PAGES_LIMIT = 10_000;
const OUTCOMES = ['succeeded', 'failed', 'stopped', 'preempted'];

class RunnerProvider {
  kind = KIND;
  contractVersion = 1;
  capabilities = CAPABILITIES;
  // The runner answers from its own memory.
  consistencyWindowMs = 0;

  constructor(config, { clock, flavours }) {
    this.config = config;
    this.clock = clock;
    this.flavours = flavours ?? [];
  }

  async capacity(signal) {
    const { flavour, gpus, freeGpus, cpuMilli, freeCpuMilli } = await this.json('GET', '/capacity', { signal });
    const gpu = { totalGpuMilli: BigInt(gpus) * 1000n, freeGpuMilli: BigInt(freeGpus) * 1000n };
    return [{ flavour, ...gpu, totalCpuMilli: BigInt(cpuMilli), freeCpuMilli: BigInt(freeCpuMilli) }];
  }

  async offers() {
    return this.flavours.map(({ resource, ...offer }) => offer);
  }

  /** The runner takes a name once, and answers with the job that has it. */
  async submit(spec, signal) {
    checkAttempt(spec);
    const { gpuMilli, cpuMilli } = spec.resources;
    if (gpuMilli % 1000n !== 0n) throw new ProviderError('invalid', 'the runner gives whole GPUs only');
    const files = spec.workdir === undefined ? [] : await readWorkdir(spec.workdir, signal);
    const nodes = BigInt(spec.nodes ?? 1);
    const body = {
      name: spec.key,
      labels: labelsOf(spec),
      flavour: spec.flavour,
      command: spec.entrypoint,
      env: spec.env,
      files: files.map(({ path, executable, bytes }) => ({ path, executable, base64: bytes.toString('base64') })),
      gpus: Number((gpuMilli * nodes) / 1000n),
      cpuMilli: Number(cpuMilli * nodes),
      maxMs: spec.leaseMs,
    };
    const job = await this.json('POST', '/jobs', { signal, changes: true, body });
    const other = Object.entries(body.labels).find(([name, value]) => job.labels[name] !== value);
    if (other !== undefined)
      throw new ProviderError('invalid', `conflict: the ${other[0]} of ${spec.key} is another one's`);
    return handleOf(job);
  }

  async observe(key, signal) {
    const job = await this.find(key, signal);
    if (job === undefined) return { state: 'absent' };
    const handle = handleOf(job);
    if (OUTCOMES.includes(job.state)) {
      const { exitCode, startedAtMs, endedAtMs } = job;
      const message = cleanMessage(job.state === 'failed' ? `exit code ${exitCode}, last output: ${job.tail}` : '');
      return {
        state: 'ended',
        handle,
        outcome: job.state,
        exitCode: exitCode ?? undefined,
        message,
        startedAtMs,
        endedAtMs,
      };
    }
    if (job.state === 'running') return { state: 'running', handle, startedAtMs: job.startedAtMs };
    return { state: 'unknown-status', handle, word: cleanMessage(job.state).slice(0, 64) };
  }

  async drain(key, _deadlineMs, signal) {
    const job = await this.find(key, signal);
    if (job !== undefined && isLive(job)) await this.stop(key, 'notice', signal);
  }

  async release(key, signal) {
    const limitMs = this.clock.now() + RELEASE_LIMIT_MS;
    for (;;) {
      const job = await this.find(key, signal);
      if (job === undefined || !isLive(job)) return;
      await this.stop(key, 'end', signal);
      if (signal.aborted || this.clock.now() >= limitMs)
        throw new ProviderError('transient', `${key} still runs`, { effect: 'unknown' });
      await this.clock.sleep(LOOK_MS, signal);
    }
  }

  async list(tag, signal) {
    const owned = [];
    let after = '';
    for (let page = 0; page < PAGES_LIMIT; page++) {
      const query = new URLSearchParams({ label: 'tag', value: tag, after });
      const { jobs, more } = await this.json('GET', `/jobs?${query}`, { signal });
      owned.push(...jobs.map((job) => ({ key: job.name, handle: handleOf(job), live: isLive(job) })));
      if (!more) return owned;
      after = jobs.at(-1).name;
    }
    throw new ProviderError('transient', 'the list does not end');
  }

  async logs(key, fromByte, maxBytes, signal) {
    if ((await this.find(key, signal)) === undefined) throw new ProviderError('not_found', `there is no job ${key}`);
    return this.call('GET', `/jobs/${key}/log?from=${fromByte}&max=${maxBytes}`, { signal });
  }

  async close() {}

  /** Our job of this key; somebody else's that has the name is none of ours. */
  async find(key, signal) {
    checkKey(key);
    const { job } = await this.json('GET', `/jobs/${key}`, { signal });
    return job !== null && job.labels.booking !== undefined ? job : undefined;
  }

  async stop(key, how, signal) {
    await this.call('POST', `/jobs/${key}/${how}`, { signal, changes: true });
  }

  async json(method, path, options) {
    const bytes = await this.call(method, path, options);
    try {
      return JSON.parse(bytes.toString('utf8'));
    } catch (cause) {
      throw new ProviderError('transient', `${path}: the answer is no JSON`, { effect: effectOf(options), cause });
    }
  }

  async call(method, path, options) {
    const token = await readFile(this.config.tokenFile, 'utf8').catch((cause) => {
      throw new ProviderError('auth', `${this.config.tokenFile} cannot be read`, { cause });
    });
    const { signal, body } = options;
    let response;
    let bytes;
    try {
      response = await fetch(new URL(path, this.config.url), {
        method,
        signal,
        headers: { authorization: `Bearer ${token.trim()}` },
        body: body === undefined ? undefined : JSON.stringify(body),
      });
      bytes = Buffer.from(await response.arrayBuffer());
    } catch (cause) {
      throw new ProviderError('transient', cleanMessage(`${method} ${path}: ${cause}`), {
        effect: effectOf(options),
        cause,
      });
    }
    if (response.ok) return bytes;
    const message = cleanMessage(`${response.status}: ${bytes.toString('utf8')}`);
    switch (response.status) {
      case 401:
        throw new ProviderError('auth', message);
      case 404:
        throw new ProviderError('not_found', message);
      case 429: {
        const retryAfterMs = Number(response.headers.get('retry-after')) * 1000;
        throw new ProviderError('transient', message, { retryAfterMs });
      }
      case 507:
        throw new ProviderError('no_capacity', message);
    }
    if (response.status < 500) throw new ProviderError('invalid', message);
    throw new ProviderError('transient', message, { effect: effectOf(options) });
  }
}

const effectOf = ({ changes }) => (changes === true ? 'unknown' : 'none');
const isLive = (job) => !OUTCOMES.includes(job.state);
const handleOf = ({ name, uid }) => ({ provider: KIND, id: name, uid });
const labelsOf = ({ tag, bookingId, attempt }) => ({ tag, booking: bookingId, attempt: String(attempt) });
const unknownOption = (name) => ({ field: `options.${KIND}.${name}`, problem: 'is not known', mend: 'remove it' });

export default defineProvider({
  kind: KIND,
  contractVersion: 1,
  capabilities: CAPABILITIES,
  configSchema: {
    type: 'object',
    required: ['url', 'tokenFile'],
    additionalProperties: false,
    properties: { url: { type: 'string', pattern: '^https?://' }, tokenFile: { type: 'string' } },
  },
  checkOptions: (options = {}) => Object.keys(options).map(unknownOption),
  open: async (config, context) => new RunnerProvider(config, context),
  testBackend: () => import('./test-backend.mjs'),
});
