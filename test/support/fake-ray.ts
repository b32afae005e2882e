import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

export interface FakeJob {
  status: string;
  message: string;
  error_type: string | null;
  readonly start_time: number;
  end_time: number | null;
  metadata: Record<string, string>;
  readonly entrypoint: string;
  driver_exit_code: number | null;
  driver_node_id: string | null;
}

export interface Exchange {
  readonly request: IncomingMessage;
  readonly body: Buffer;
  readonly response: ServerResponse;
  /** Does what Ray would have done, and answers unless `silently`. */
  proceed(how?: 'silently'): void;
}

/** Answers one call in place of the fake Ray. */
export type Fault = (exchange: Exchange) => void;

export interface FakeRay {
  readonly address: string;
  readonly token: string;
  readonly jobs: Map<string, FakeJob>;
  /** `METHOD /path` of each call, in order. */
  readonly calls: string[];
  readonly authorizations: (string | undefined)[];
  readonly submissions: Record<string, unknown>[];
  /** Node id to Ray's text of its resources. */
  nodes: Record<string, string>;
  /** Node id to its labels. */
  labels: Record<string, Record<string, string>>;
  /** Ids of nodes that Ray lists as dead. */
  deadNodes: string[];
  session: string;
  acceptedTokens: string[] | undefined;
  /** What a stop does to a job; default: it is STOPPED at once. */
  onStop: (job: FakeJob) => boolean;
  /** The next `times` calls that match get `fault`. */
  inject(call: RegExp, fault: Fault, times?: number): void;
  close(): Promise<void>;
}

/**
 * A server on loopback that answers like the Jobs API of Ray 2.60 where all is well, and as told where a test wants a fault. A
 * stand-in for faults only: what Ray does is tested on a real one in test/integration.
 */
export async function startFakeRay(): Promise<FakeRay> {
  const faults: { call: RegExp; fault: Fault; left: number }[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('error', () => {});
    request.on('end', () => {
      const body = Buffer.concat(parts);
      const call = `${request.method} ${request.url}`;
      fake.calls.push(call);
      fake.authorizations.push(request.headers.authorization);
      const proceed = (how?: 'silently') => {
        const answer = answerOf(fake, request, body);
        if (how !== 'silently') send(response, answer);
      };
      const fault = faults.find((one) => one.left > 0 && one.call.test(call));
      if (fault === undefined) return proceed();
      fault.left--;
      fault.fault({ request, body, response, proceed });
    });
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const fake: FakeRay = {
    address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    token: 'token-1',
    jobs: new Map(),
    calls: [],
    authorizations: [],
    submissions: [],
    nodes: { n1: '0.0/8.0 CPU\n0.0/4.0 GPU\n0B/16.00GiB memory' },
    labels: {},
    deadNodes: [],
    session: 'session_1',
    acceptedTokens: ['token-1'],
    onStop: (job) => {
      job.status = 'STOPPED';
      return true;
    },
    inject: (call, fault, times = 1) => faults.push({ call, fault, left: times }),
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return fake;
}

interface Answer {
  readonly status: number;
  readonly text: string;
}

const json = (value: unknown): Answer => ({ status: 200, text: JSON.stringify(value) });

function send(response: ServerResponse, answer: Answer): void {
  const type = answer.status === 200 ? 'application/json' : 'text/plain';
  response.writeHead(answer.status, { 'content-type': type }).end(answer.text);
}

function answerOf(fake: FakeRay, request: IncomingMessage, body: Buffer): Answer {
  const given = request.headers.authorization;
  if (fake.acceptedTokens !== undefined) {
    if (given === undefined) return { status: 401, text: 'Unauthorized: Missing authentication token' };
    const known = fake.acceptedTokens.some((token) => given === `Bearer ${token}`);
    if (!known) return { status: 403, text: 'Forbidden: Invalid authentication token' };
  }
  const path = request.url ?? '';
  if (path === '/api/version') return json({ version: '4', ray_version: '2.60.0', session_name: fake.session });
  if (path === '/nodes?view=summary') return json({ result: true, data: { nodeLogicalResources: fake.nodes } });
  if (path === '/api/v0/nodes?limit=10000') return json({ result: true, data: { result: stateOf(fake) } });
  if (path.startsWith('/api/packages/'))
    return request.method === 'PUT' ? json({}) : { status: 404, text: 'no package' };
  if (path === '/api/jobs/' && request.method === 'POST') return submit(fake, body);
  if (path === '/api/jobs/') return json([...fake.jobs].map(([id, job]) => jobOf(id, job)));
  return aboutOne(fake, path);
}

function stateOf(fake: FakeRay): Record<string, unknown> {
  const alive = Object.keys(fake.nodes).map((id) => ({ node_id: id, state: 'ALIVE', labels: fake.labels[id] ?? {} }));
  const nodes = [...alive, ...fake.deadNodes.map((id) => ({ node_id: id, state: 'DEAD', labels: {} }))];
  return { total: nodes.length, num_after_truncation: nodes.length, result: nodes };
}

function submit(fake: FakeRay, body: Buffer): Answer {
  const asked = JSON.parse(body.toString('utf8')) as Record<string, unknown>;
  fake.submissions.push(asked);
  const id = String(asked.submission_id);
  if (fake.jobs.has(id)) return { status: 500, text: alreadyExists(id) };
  fake.jobs.set(id, fakeJob({ metadata: asked.metadata as Record<string, string> }));
  return json({ job_id: id, submission_id: id });
}

function aboutOne(fake: FakeRay, path: string): Answer {
  const [, id = '', verb] = /^\/api\/jobs\/([^/]+)(?:\/(\w+))?$/.exec(path) ?? [];
  const job = fake.jobs.get(id);
  if (job === undefined) return { status: 404, text: `Job ${id} does not exist` };
  if (verb === undefined) return json(jobOf(id, job));
  if (verb === 'stop') return json({ stopped: fake.onStop(job) });
  return json({ logs: '' });
}

export function fakeJob(fields: Partial<FakeJob> = {}): FakeJob {
  return {
    status: 'RUNNING',
    message: 'Job is currently running.',
    error_type: null,
    start_time: 1_795_000_000_000,
    end_time: null,
    metadata: {},
    entrypoint: 'true',
    driver_exit_code: null,
    driver_node_id: null,
    ...fields,
  };
}

function jobOf(id: string, job: FakeJob): Record<string, unknown> {
  return { type: 'SUBMISSION', job_id: null, submission_id: id, ...job };
}

/** As Ray 2.60 words it: the agent's 400 inside the head's 500. */
export function alreadyExists(id: string): string {
  return [
    'Traceback (most recent call last):',
    '  File "/x/ray/dashboard/modules/job/job_head.py", line 420, in submit_job',
    '    resp = await job_agent_client.submit_job_internal(submit_request)',
    'RuntimeError: Request failed with status code 400: Traceback (most recent call last):',
    '  File "/x/ray/dashboard/modules/job/job_manager.py", line 557, in submit_job',
    '    raise ValueError(',
    `ValueError: Job with submission_id ${id} already exists. Please use a different submission_id.`,
    '.',
    '',
  ].join('\n');
}

/** Faults by what the client sees. */
export const faults = {
  status:
    (status: number, text = '', headers: Record<string, string> = {}): Fault =>
    ({ response }) => {
      response.writeHead(status, { 'content-type': 'text/plain', ...headers }).end(text);
    },
  /** Does it and never says so. */
  lostReply: (({ proceed }) => proceed('silently')) satisfies Fault,
  /** Neither does it nor answers. */
  silence: (() => {}) satisfies Fault,
  /** Does it, then tears the connection. */
  tornAfterEffect: (({ proceed, response }) => {
    proceed('silently');
    response.socket?.destroy();
  }) satisfies Fault,
  /** Does it, and answers with this in place of the true reply. */
  bodyAfterEffect:
    (body: string | Buffer, headers: Record<string, string> = {}): Fault =>
    ({ proceed, response }) => {
      proceed('silently');
      response.writeHead(200, { 'content-type': 'application/json', ...headers }).end(body);
    },
  /** Does it, and announces more than it sends. */
  truncatedAfterEffect: (({ proceed, response }) => {
    proceed('silently');
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': '100' });
    response.write('{"job_id": "m');
    setImmediate(() => response.socket?.destroy());
  }) satisfies Fault,
};
