variable "name" {
  type        = string
  description = "The pool's name in Merit."
}

variable "flavours" {
  type = map(object({
    instance_type = string
    gpus          = optional(number, 0)
    cpus          = number
    memory_gib    = optional(number)
    # The account's quota of the type for training jobs; on spot, for spot training jobs.
    instances = number
    spot      = optional(bool, false)
    gpu_type  = optional(string)
    # Of one GPU, or of one CPU where the type has no GPU.
    price = object({ currency = string, per_unit_hour = string })
  }))
  description = "Flavour to its instance type; a node of a job is one whole instance."
}

variable "prefix" {
  type        = string
  description = "What jobs are staged below, in the bucket."
  default     = "training"
}

variable "staged_days" {
  type        = number
  description = "Days after which staged code and starts expire: more than the longest lease and wait."
  default     = 90
}

variable "image" {
  type        = string
  description = "Of jobs that name none."
  default     = null
}

variable "repository_arns" {
  type        = list(string)
  description = "ECR repositories that jobs take their images from."
  default     = []
}

variable "output_bucket_arns" {
  type        = list(string)
  description = "Buckets that jobs write their outputs to, besides their own checkpoints and models."
  default     = []
}

variable "kms_key_arn" {
  type        = string
  description = "Encrypts the bucket, the volumes and what jobs write; absent: S3's own keys."
  default     = null
}

variable "vpc" {
  type        = object({ subnet_ids = list(string), security_group_ids = list(string) })
  description = "Where jobs run; absent: SageMaker's own network."
  default     = null
}

variable "network_isolation" {
  type        = bool
  description = "Jobs reach no network, nor S3 by themselves."
  default     = false
}

variable "merit_role_name" {
  type        = string
  description = "The role that Merit runs as; it is given the rights that docs/sagemaker.md lists. Absent: give them yourself."
  default     = null
}

variable "credentials_file" {
  type        = string
  description = "Path, on Merit's machine, of what a credential_process prints; absent: the SDK's own chain."
  default     = null
}

variable "tags" {
  type        = map(string)
  description = "Of all that is made here, and of the jobs."
  default     = {}
}
