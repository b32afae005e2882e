import { createRequire } from 'node:module';
import type { KafkaTopic } from './client.ts';

const METADATA_KEY = 3;
/** kafkajs' own stops at version 6, which knows no topic ids; this one needs Kafka 3.1. */
const METADATA_VERSION = 12;
const UNKNOWN_TOPIC = 3;
const ID_BYTES = 16;

interface Encoder {
  writeInt64(value: number): Encoder;
  writeBoolean(value: boolean): Encoder;
  writeUVarIntBytes(value?: Uint8Array): Encoder;
  writeUVarIntString(value: string): Encoder;
  writeUVarIntArray(values: readonly Encoder[]): Encoder;
}

interface Decoder {
  readInt16(): number;
  readInt32(): number;
  readBytes(count: number): Buffer;
  readBoolean(): boolean;
  readUVarIntString(): string | null;
  readUVarIntArray<T>(read: (decoder: Decoder) => T): readonly T[] | null;
  readTaggedFields(): unknown;
}

interface Topic {
  readonly errorCode: number;
  readonly id: string;
  readonly partitions: readonly number[];
}

/** kafkajs' way of asking one thing of a broker. */
export interface KafkaJsAsk {
  readonly request: {
    readonly apiKey: number;
    readonly apiVersion: number;
    readonly apiName: string;
    readonly encode: () => Promise<Encoder>;
  };
  readonly response: {
    readonly decode: (bytes: Buffer) => Promise<{ readonly topic: KafkaTopic | undefined }>;
    readonly parse: (decoded: { readonly topic: KafkaTopic | undefined }) => Promise<KafkaTopic | undefined>;
  };
}

/** Asks for one topic with its id. Source: MetadataRequest.json and MetadataResponse.json of Apache Kafka, version 12. */
export function askTopic(name: string): KafkaJsAsk {
  const load = createRequire(import.meta.url);
  const NewEncoder = load('kafkajs/src/protocol/encoder') as new () => Encoder;
  const NewDecoder = load('kafkajs/src/protocol/decoder') as new (bytes: Buffer) => Decoder;
  const { createErrorFromCode } = load('kafkajs/src/protocol/error') as {
    createErrorFromCode: (code: number) => Error;
  };
  const wanted = () => new NewEncoder().writeInt64(0).writeInt64(0).writeUVarIntString(name).writeUVarIntBytes();
  return {
    request: {
      apiKey: METADATA_KEY,
      apiVersion: METADATA_VERSION,
      apiName: 'Metadata',
      // The first byte ends the header of such a version, which kafkajs does not know.
      encode: async () =>
        new NewEncoder()
          .writeUVarIntBytes()
          .writeUVarIntArray([wanted()])
          .writeBoolean(false)
          .writeBoolean(false)
          .writeUVarIntBytes(),
    },
    response: {
      decode: async (bytes) => {
        const found = firstTopic(new NewDecoder(bytes));
        if (found === undefined || found.errorCode === UNKNOWN_TOPIC) return { topic: undefined };
        if (found.errorCode !== 0) throw createErrorFromCode(found.errorCode);
        return { topic: { id: found.id, partitions: found.partitions.toSorted((a, b) => a - b) } };
      },
      parse: async ({ topic }) => topic,
    },
  };
}

function firstTopic(decoder: Decoder): Topic | undefined {
  decoder.readTaggedFields();
  decoder.readInt32();
  decoder.readUVarIntArray((broker) => {
    broker.readInt32();
    broker.readUVarIntString();
    broker.readInt32();
    broker.readUVarIntString();
    broker.readTaggedFields();
  });
  decoder.readUVarIntString();
  decoder.readInt32();
  return decoder.readUVarIntArray(readTopic)?.[0];
}

function readTopic(decoder: Decoder): Topic {
  const errorCode = decoder.readInt16();
  decoder.readUVarIntString();
  const id = decoder.readBytes(ID_BYTES).toString('hex');
  decoder.readBoolean();
  const partitions = decoder.readUVarIntArray(readPartition) ?? [];
  decoder.readInt32();
  decoder.readTaggedFields();
  return { errorCode, id: id.replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-'), partitions };
}

function readPartition(decoder: Decoder): number {
  decoder.readInt16();
  const partition = decoder.readInt32();
  decoder.readInt32();
  decoder.readInt32();
  for (let list = 0; list < 3; list++) decoder.readUVarIntArray((one) => one.readInt32());
  decoder.readTaggedFields();
  return partition;
}
