/**
 * What is used of google.cloud.aiplatform.v1, as the SDK hands it over: enums by name (by number where it does not know one), 64-bit numbers as text, an
 * absent message as null. Written out here because the SDK's own types are 20 MB, which every look of the compiler would read.
 */
export interface WireTime {
  readonly seconds?: string | number | null;
  readonly nanos?: number | null;
}

export interface WireStatus {
  readonly code?: number | null;
  readonly message?: string | null;
}

export interface WorkerPoolSpec {
  readonly machineSpec: {
    readonly machineType: string;
    readonly acceleratorType?: string;
    readonly acceleratorCount?: number;
  };
  readonly replicaCount: number | string;
  readonly diskSpec?: { readonly bootDiskType?: string; readonly bootDiskSizeGb?: number };
  readonly containerSpec: { readonly imageUri: string; readonly command: readonly string[] };
}

export interface CustomJobSpec {
  readonly workerPoolSpecs: readonly WorkerPoolSpec[];
  readonly scheduling: {
    readonly timeout: WireTime;
    readonly restartJobOnWorkerRestart: boolean;
    readonly disableRetries: boolean;
    readonly strategy: string;
  };
  readonly serviceAccount?: string;
  readonly network?: string;
  readonly reservedIpRanges?: readonly string[];
  readonly pscInterfaceConfig?: { readonly networkAttachment: string };
  readonly baseOutputDirectory?: { readonly outputUriPrefix: string };
  readonly tensorboard?: string;
}

/** What is sent. */
export interface NewCustomJob {
  readonly displayName: string;
  readonly jobSpec: CustomJobSpec;
  readonly labels: Readonly<Record<string, string>>;
  readonly encryptionSpec?: { readonly kmsKeyName: string };
}

/** What is told. */
export interface CustomJob {
  readonly name: string;
  readonly displayName: string;
  readonly state: string | number;
  readonly jobSpec?: Partial<CustomJobSpec> | null;
  readonly createTime?: WireTime | null;
  readonly startTime?: WireTime | null;
  readonly endTime?: WireTime | null;
  readonly error?: WireStatus | null;
  readonly labels?: Readonly<Record<string, string>> | null;
}

export interface CallOptions {
  readonly signal: AbortSignal;
  readonly timeout: number;
  readonly autoPaginate?: boolean;
  readonly otherArgs: { readonly headers: Readonly<Record<string, string>> };
}

export interface JobServiceClient {
  createCustomJob(
    request: { readonly parent: string; readonly customJob: NewCustomJob },
    options: CallOptions,
  ): Promise<readonly [CustomJob]>;
  cancelCustomJob(request: { readonly name: string }, options: CallOptions): Promise<unknown>;
  listCustomJobs(
    request: {
      readonly parent: string;
      readonly filter: string;
      readonly pageSize: number;
      readonly pageToken: string;
    },
    options: CallOptions,
  ): Promise<readonly [readonly CustomJob[], unknown, { readonly nextPageToken?: string | null } | null | undefined]>;
  close(): Promise<void>;
}

export function millis(time: WireTime | null | undefined): number | undefined {
  if (time === null || time === undefined) return undefined;
  return Number(time.seconds ?? 0) * 1000 + Math.floor((time.nanos ?? 0) / 1e6);
}
