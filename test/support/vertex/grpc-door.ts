import { createRequire } from 'node:module';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { Metadata, Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData } from '@grpc/grpc-js';
import { RPC } from '../../../providers/vertex/errors.ts';
import { keepOnlyJobs, type ProtoNode } from '../../../providers/vertex/job-protos.ts';
import { RpcError } from './rpc-error.ts';

export type Request = Readonly<Record<string, never>>;
export type Reply = Readonly<Record<string, unknown>>;
/** A reply, or how there is none: never, a connection that is cut, bytes that are no message. */
export type Answer = Reply | 'none' | 'cut' | 'torn';

const VERBS = ['CreateCustomJob', 'GetCustomJob', 'ListCustomJobs', 'CancelCustomJob', 'DeleteCustomJob'] as const;
const TORN = Buffer.from([0xff, 0xff, 0xff, 0xff, 0x07]);

/** JobService over gRPC on loopback, by the protos of the SDK. What `answer` throws as RpcError is the call's status. */
export class GrpcDoor {
  readonly #answer: (verb: string, request: Request, authorization: string) => Promise<Answer>;
  readonly #server = new Server();
  /** Connections are cut here: gRPC's server knows only polite ends. */
  readonly #front = createServer((socket) => this.#forward(socket));
  readonly #sockets = new Set<Socket>();
  #backPort = 0;
  #port = 0;

  constructor(answer: (verb: string, request: Request, authorization: string) => Promise<Answer>) {
    this.#answer = answer;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  async start(): Promise<void> {
    const handlers = Object.fromEntries(
      VERBS.map((verb) => [
        verb,
        (call: ServerUnaryCall<Request, Reply>, reply: sendUnaryData<Reply>) => void this.#take(verb, call, reply),
      ]),
    );
    this.#server.addService(jobService() as never, handlers);
    this.#backPort = await new Promise<number>((resolve, reject) =>
      this.#server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) =>
        error === null ? resolve(port) : reject(error),
      ),
    );
    await this.listen();
  }

  /** On the same port as before. */
  async listen(): Promise<void> {
    if (this.#front.listening) return;
    await new Promise<void>((resolve) => this.#front.listen(this.#port, '127.0.0.1', resolve));
    this.#port = (this.#front.address() as AddressInfo).port;
  }

  async goAway(): Promise<void> {
    if (!this.#front.listening) return;
    const closed = new Promise((resolve) => this.#front.close(resolve));
    this.#cut();
    await closed;
  }

  async close(): Promise<void> {
    await this.goAway();
    this.#server.forceShutdown();
  }

  async #take(
    verb: string,
    { request, metadata }: ServerUnaryCall<Request, Reply>,
    reply: sendUnaryData<Reply>,
  ): Promise<void> {
    try {
      const value = await this.#answer(verb, request, String(metadata.get('authorization')[0] ?? ''));
      if (value === 'none') return;
      if (value === 'cut') return void this.#cut();
      reply(null, value === 'torn' ? { torn: true } : value);
    } catch (error) {
      if (!(error instanceof RpcError)) return void reply({ code: RPC.internal, details: String(error) });
      const details = new Metadata();
      details.set('grpc-status-details-bin', error.bytes());
      reply({ code: error.code, details: error.message, metadata: details });
    }
  }

  #forward(socket: Socket): void {
    const back = connect(this.#backPort, '127.0.0.1');
    for (const [one, other] of [
      [socket, back],
      [back, socket],
    ] as const) {
      this.#sockets.add(one);
      one.on('error', () => {});
      one.on('close', () => {
        this.#sockets.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  }

  #cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}

type Service = Record<string, { responseSerialize(value: unknown): Buffer }>;

function jobService(): Service {
  const require = createRequire(import.meta.url);
  const protos = require('@google-cloud/aiplatform/build/protos/protos.json') as ProtoNode;
  keepOnlyJobs(protos);
  const { GrpcClient } = require('google-gax') as {
    readonly GrpcClient: new (options: object) => { loadProtoJSON(json: object): unknown };
  };
  const loaded = new GrpcClient({ auth: {} }).loadProtoJSON(protos) as {
    readonly google: { cloud: { aiplatform: { v1: { JobService: { service: Service } } } } };
  };
  const { service } = loaded.google.cloud.aiplatform.v1.JobService;
  const create = service.CreateCustomJob!;
  const tearing = {
    ...create,
    responseSerialize: (value: unknown) => ((value as Reply).torn === true ? TORN : create.responseSerialize(value)),
  };
  return { ...service, CreateCustomJob: tearing };
}
