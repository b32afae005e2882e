variable "name" {
  type        = string
  description = "The pool's name in Merit."
}

variable "flavours" {
  type = map(object({
    machine_type = string
    # As the API names it: NVIDIA_L4.
    accelerator = optional(string)
    gpus        = optional(number, 0)
    cpus        = number
    memory_gib  = optional(number)
    # What the project's quota lets run at once; on spot, of spot machines.
    machines = number
    spot     = optional(bool, false)
    gpu_type = optional(string)
    # Of one GPU, or of one CPU where the type has no GPU.
    price = object({ currency = string, per_unit_hour = string })
  }))
  description = "Flavour to its machine type; a node of a job is one whole machine."
}

variable "project" {
  type        = string
  description = "The project's id."
}

variable "region" {
  type        = string
  description = "As europe-west4."
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

variable "kms_key" {
  type        = string
  description = "Encrypts the bucket and the jobs; absent: Google's own keys."
  default     = null
}

variable "merit_service_account" {
  type        = string
  description = "The account that Merit runs as; it is given its rights. Absent: give them yourself."
  default     = null
}

variable "credentials_file" {
  type        = string
  description = "Path, on Merit's machine, of a configuration of workload identity federation, or a key; absent: application default credentials."
  default     = null
}

variable "labels" {
  type        = map(string)
  description = "Of all that is made here, and of the jobs."
  default     = {}
}
