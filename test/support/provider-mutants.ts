// biome-ignore-all lint/suspicious/noTemplateCurlyInString: they are pieces of the scaffold's source
/** Faults that authors of providers make, planted in the scaffold's: each is found by the check that names it, and by no other. */
export interface ProviderMutant {
  /** The check that fails. */
  readonly check: string;
  readonly fault: string;
  readonly changes: readonly (readonly [from: string, to: string])[];
}

const SEEN_BEFORE: readonly [string, string] = ['  #flavours;\n', '  #flavours;\n  #seen = new Set();\n'];
const REMEMBERED: readonly [string, string] = [
  '    return handleOf(job);\n  }\n\n  /**\n   * @param {string} key\n',
  '    this.#seen.add(spec.key);\n    return handleOf(job);\n  }\n\n  /**\n   * @param {string} key\n',
];

export const PROVIDER_MUTANTS: readonly ProviderMutant[] = [
  {
    check: 'contract',
    fault: 'a capability is a text',
    changes: [['  capabilities = CAPABILITIES;', "  capabilities = { ...CAPABILITIES, reserve: 'no' };"]],
  },
  {
    check: 'config-refused',
    fault: 'the schema takes fields that it does not name',
    changes: [['    additionalProperties: false,\n', '']],
  },
  {
    check: 'options-refused',
    fault: 'any option is taken',
    changes: [['unknownOptions(KIND, [], options)', '[]']],
  },
  {
    check: 'capacity-told',
    fault: 'amounts are numbers',
    changes: [['totalGpuMilli: BigInt(one.gpuMilli)', 'totalGpuMilli: Number(one.gpuMilli)']],
  },
  {
    check: 'capacity-follows',
    fault: 'all is always free',
    changes: [['BigInt(one.freeCpuMilli)', 'BigInt(one.cpuMilli)']],
  },
  {
    check: 'idempotent-submit',
    fault: 'the idempotency key follows from what a repetition may change',
    changes: [["'idempotency-key': spec.key", "'idempotency-key': spec.key + (spec.env.MERIT_CHECKPOINT ?? '')"]],
  },
  {
    check: 'duplicate-in-parallel',
    fault: 'submits that are under way at once do not share their idempotency key',
    changes: [
      [
        '    checkAttempt(spec);\n',
        '    checkAttempt(spec);\n    const nth = busy.get(spec.key) ?? 0;\n    busy.set(spec.key, nth + 1);\n',
      ],
      ["'idempotency-key': spec.key", "'idempotency-key': `${spec.key}-${nth}`"],
      [
        '        maxSeconds: Math.ceil(spec.leaseMs / 1000),\n      },\n    });',
        '        maxSeconds: Math.ceil(spec.leaseMs / 1000),\n      },\n    }).finally(() => busy.delete(spec.key));',
      ],
      ['const STOP_LOOK_MS', 'const busy = new Map();\nconst STOP_LOOK_MS'],
    ],
  },
  {
    check: 'same-key-other-content',
    fault: 'whatever has the key is taken for the attempt’s own',
    changes: [['job.labels[name] !== value))', 'job.labels[name] === undefined))']],
  },
  {
    check: 'invalid-refused',
    fault: 'keys are not looked at',
    changes: [
      [
        '    checkAttempt(spec);\n',
        "    if (spec.resources.cpuMilli < 0n) throw new ProviderError('invalid', 'negative');\n",
      ],
    ],
  },
  {
    check: 'workdir-travels',
    fault: 'files travel by their last name',
    changes: [
      ['files.map(({ path, executable', 'files.map(({ path: full, executable'],
      ['=> ({ path,', "=> ({ path: full.split('/').pop(),"],
    ],
  },
  {
    check: 'hostile-strings',
    fault: 'the environment is trimmed',
    changes: [
      [
        'env: spec.env,',
        'env: Object.fromEntries(Object.entries(spec.env).map(([n, v]) => [n, v.replace(/[\\u0001\\t\\r]/g, "")])),',
      ],
    ],
  },
  {
    check: 'exit-codes',
    fault: 'the exit code is lost where it is not zero',
    changes: [
      [
        'exitCode: job.exitCode ?? undefined',
        'exitCode: job.exitCode === null ? undefined : Math.min(job.exitCode, 1)',
      ],
    ],
  },
  {
    check: 'lost-reply',
    fault: 'a connection that was cut is told as no effect',
    changes: [
      [
        '`${method} ${path}: ${cause}`), { effect,',
        "`${method} ${path}: ${cause}`), { effect: signal.aborted ? effect : 'none',",
      ],
    ],
  },
  {
    check: 'timeout-after-success',
    fault: 'a call that was broken off is told as no effect',
    changes: [
      [
        '`${method} ${path}: ${cause}`), { effect,',
        "`${method} ${path}: ${cause}`), { effect: signal.aborted ? 'none' : effect,",
      ],
    ],
  },
  {
    check: 'torn-reply',
    fault: 'a torn reply of a submit is told as no effect',
    changes: [["const effect = call.changes === true ? 'unknown' : 'none';", "const effect = 'none';"]],
  },
  {
    check: 'backend-away',
    fault: 'what fetch throws is handed on',
    changes: [
      [
        'if (cause instanceof ProviderError) throw cause;',
        "if (cause instanceof ProviderError || cause.cause?.code === 'ECONNREFUSED') throw cause;",
      ],
    ],
  },
  {
    check: 'abort-honoured',
    fault: 'reading a log goes on whatever the signal says',
    changes: [
      [
        "return this.#call({ method: 'GET', path, signal });",
        "return this.#call({ method: 'GET', path, signal: new AbortController().signal });",
      ],
      [
        'const job = await this.#find(key, signal);\n    if (job === undefined) throw',
        'const job = await this.#find(key, new AbortController().signal);\n    if (job === undefined) throw',
      ],
    ],
  },
  {
    check: 'already-aborted',
    fault: 'release gives up in silence once its signal has aborted',
    changes: [
      [
        '    const limitMs = this.#clock.now() + STOP_LIMIT_MS;\n',
        '    const limitMs = this.#clock.now() + STOP_LIMIT_MS;\n    if (signal.aborted) return;\n',
      ],
    ],
  },
  {
    check: 'throttled',
    fault: 'seconds are told as milliseconds',
    changes: [['retryAfterMs: retryAfterS * 1000', 'retryAfterMs: retryAfterS']],
  },
  {
    check: 'auth-expired',
    fault: 'the token is read once',
    changes: [
      ['  #flavours;\n', '  #flavours;\n  #token;\n'],
      ['const token = await readFile(', 'const token = this.#token ??= await readFile('],
    ],
  },
  {
    check: 'capacity-denied',
    fault: 'no room is told as a mistake in the job',
    changes: [["new ProviderError('no_capacity'", "new ProviderError('invalid'"]],
  },
  {
    check: 'quota-exceeded',
    fault: 'over quota is told as a fault in passing',
    changes: [["new ProviderError('quota_exceeded'", "new ProviderError('transient'"]],
  },
  {
    check: 'refusals-cleaned',
    fault: 'the service’s words are handed on as they are',
    changes: [['const message = cleanMessage(`${status}: ${text}`)', 'const message = `${status}: ${text}`']],
  },
  {
    check: 'eventual-consistency',
    fault: 'the window is told as none',
    changes: [['const WINDOW_MS = 60_000', 'const WINDOW_MS = 0']],
  },
  {
    check: 'unknown-status',
    fault: 'a state never seen before is told as a failure',
    changes: [
      [
        '    default:\n',
        "    default:\n      if (job.state.startsWith('Hib')) return { state: 'ended', handle, outcome: 'failed', exitCode: 1, message: '', startedAtMs: undefined, endedAtMs: undefined };\n",
      ],
    ],
  },
  {
    check: 'slow-start',
    fault: 'what is queued is told as running',
    changes: [
      [
        "      return { state: 'pending', handle, message: cleanMessage(job.message) };",
        "      return { state: 'running', handle, startedAtMs: undefined };",
      ],
    ],
  },
  {
    check: 'orphan-sweep',
    fault: 'the list shows what this instance submitted',
    changes: [
      SEEN_BEFORE,
      REMEMBERED,
      [
        '    return jobs.map((job) =>',
        "    return jobs.filter((job) => this.#seen.has(job.labels['merit-key'])).map((job) =>",
      ],
    ],
  },
  {
    check: 'restart-finds',
    fault: 'a look knows what this instance submitted',
    changes: [
      SEEN_BEFORE,
      ['    checkAttempt(spec);\n', '    checkAttempt(spec);\n    this.#seen.add(spec.key);\n'],
      [
        "    return job === undefined ? { state: 'absent' }",
        "    return job === undefined || !this.#seen.has(key) ? { state: 'absent' }",
      ],
    ],
  },
  {
    check: 'list-own-tag',
    fault: 'the tag of the first list is kept for all',
    changes: [
      ['  #flavours;\n', '  #flavours;\n  #tag = undefined;\n'],
      ["this.#labelled('merit-tag', tag, signal)", "this.#labelled('merit-tag', (this.#tag ??= tag), signal)"],
    ],
  },
  {
    check: 'foreign-untouched',
    fault: 'jobs are found by their names, which anybody may give',
    changes: [["this.#labelled('merit-key', key, signal)", "this.#labelled('name', key, signal)"]],
  },
  {
    check: 'paging',
    fault: 'the last page is left out',
    changes: [
      [
        '      found.push(...jobs);\n      if (next === null) return found;\n',
        '      if (next !== null || page === 0) found.push(...jobs);\n      if (next === null) return found;\n',
      ],
    ],
  },
  {
    check: 'partial-list',
    fault: 'a list that breaks off is taken for all',
    changes: [
      [
        "const { jobs, next } = await this.#json({ method: 'GET', path: `/v1/jobs?${query}`, signal });",
        "const { jobs, next } = await this.#json({ method: 'GET', path: `/v1/jobs?${query}`, signal }).catch((error) => {\n        if (page === 0) throw error;\n        return { jobs: [], next: null };\n      });",
      ],
    ],
  },
  {
    check: 'mass-disappearance',
    fault: 'what is gone is told as failed',
    changes: [
      SEEN_BEFORE,
      [
        "    return job === undefined ? { state: 'absent' } : observationOf(job);",
        "    if (job !== undefined) this.#seen.add(key);\n    if (job === undefined && this.#seen.has(key)) return { state: 'ended', handle: { provider: KIND, id: key, uid: undefined }, outcome: 'failed', exitCode: undefined, message: '', startedAtMs: undefined, endedAtMs: undefined };\n    return job === undefined ? { state: 'absent' } : observationOf(job);",
      ],
    ],
  },
  {
    check: 'preemption-notice',
    fault: 'what was preempted is told as failed',
    changes: [['outcome: job.state,', "outcome: job.state === 'preempted' ? 'failed' : job.state,"]],
  },
  {
    check: 'release-unknown',
    fault: 'release of the unknown throws',
    changes: [
      [
        '      if (job === undefined || !isLive(job)) return;\n',
        "      if (job === undefined) throw new ProviderError('not_found', 'there is none');\n      if (!isLive(job)) return;\n",
      ],
    ],
  },
  {
    check: 'release-ended',
    fault: 'release of what has ended asks for its stop, and hands the conflict on',
    changes: [
      [
        '      if (job === undefined || !isLive(job)) return;\n',
        "      if (job === undefined) return;\n      if (!isLive(job) && job.state !== 'failed') return;\n",
      ],
      [
        '/stop`,\n          signal,\n          changes: true,\n          silent: [404, 409],',
        '/stop`,\n          signal,\n          changes: true,\n          silent: [404],',
      ],
    ],
  },
  {
    check: 'release-waits',
    fault: 'release returns once the stop was asked for',
    changes: [
      [
        "      if (job.state !== 'stopping')\n",
        "      if (job.state === 'stopping') return;\n      if (job.state !== 'stopping')\n",
      ],
    ],
  },
  {
    check: 'release-queued',
    fault: 'what is queued is taken for nothing',
    changes: [
      [
        '      if (job === undefined || !isLive(job)) return;\n',
        "      if (job === undefined || !isLive(job) || job.state === 'queued') return;\n",
      ],
    ],
  },
  {
    check: 'drain-notice',
    fault: 'a second notice is an error',
    changes: [
      SEEN_BEFORE,
      [
        '    if (job === undefined || !isLive(job)) return;\n    await',
        "    if (job === undefined) return;\n    if (this.#seen.has(key)) throw new ProviderError('invalid', 'it has had its notice');\n    this.#seen.add(key);\n    if (!isLive(job)) return;\n    await",
      ],
    ],
  },
  {
    check: 'close-ends-nothing',
    fault: 'close ends what this instance submitted',
    changes: [
      SEEN_BEFORE,
      REMEMBERED,
      [
        '  async close() {}',
        '  async close() {\n    const { signal } = new AbortController();\n    for (const key of this.#seen) await this.release(key, signal);\n  }',
      ],
    ],
  },
  {
    check: 'close-lets-go',
    fault: 'a timer runs on after close',
    changes: [['    this.#clock = clock;\n', '    this.#clock = clock;\n    setInterval(() => {}, 60_000);\n']],
  },
  {
    check: 'messages-cleaned',
    fault: 'a job’s words are handed on as they are',
    changes: [['        message: cleanMessage(job.message),\n', '        message: job.message,\n']],
  },
  {
    check: 'clock-skew',
    fault: 'what begins in the future is taken for not there',
    changes: [
      [
        "    return job === undefined ? { state: 'absent' } : observationOf(job);",
        "    if (job === undefined || (millis(job.startedAt) ?? 0) > this.#clock.now()) return { state: 'absent' };\n    return observationOf(job);",
      ],
    ],
  },
  {
    check: 'logs-from-offset',
    fault: 'the log has more than was asked for',
    changes: [['&max=${maxBytes}`', '&max=${maxBytes < 10 ? maxBytes : 100_000}`']],
  },
  {
    check: 'logs-bytes',
    fault: 'offsets count characters',
    changes: [
      [
        "    return this.#call({ method: 'GET', path, signal });",
        "    if (maxBytes > 1) return this.#call({ method: 'GET', path, signal });\n    const all = await this.#call({ method: 'GET', path: `/v1/jobs/${job.id}/log?from=0&max=100000`, signal });\n    return Buffer.from(all.toString('utf8').slice(fromByte, fromByte + maxBytes));",
      ],
    ],
  },
  {
    check: 'logs-after-end',
    fault: 'the log of what has ended begins anew',
    changes: [['log?from=${fromByte}&max', "log?from=${job.state === 'stopped' ? 0 : fromByte}&max"]],
  },
  {
    check: 'usage-told',
    fault: 'CPU time is told of the last second',
    changes: [['{ cpuMs: job.cpuMs }', '{ cpuMs: isLive(job) ? job.cpuMs : job.cpuMs % 100 }']],
  },
];
