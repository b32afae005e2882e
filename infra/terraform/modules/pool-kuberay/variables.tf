variable "name" {
  type        = string
  description = "The pool's name in Merit."
}

variable "flavours" {
  type = map(object({
    instance_type = string
    gpus          = optional(number, 0)
    # What is left of a machine's CPUs for jobs.
    cpus = number
    # Machines: the least and the most. How many stand there is not Terraform's.
    least    = optional(number, 0)
    most     = number
    spot     = optional(bool, false)
    gpu_type = optional(string)
    # Of one GPU, or of one CPU where the type has no GPU.
    price = object({ currency = string, per_unit_hour = string })
  }))
  description = "Flavour to the machines that it has."
  validation {
    condition     = alltrue([for flavour in var.flavours : flavour.least >= 0 && flavour.least <= flavour.most && flavour.most >= 1])
    error_message = "The most is at least 1, and the least from 0 to the most."
  }
}

variable "cluster_name" {
  type        = string
  description = "An EKS cluster with KubeRay's operator and NVIDIA's device plugin."
}

variable "subnet_ids" {
  type        = list(string)
  description = "Where the machines stand."
}

variable "volume_gib" {
  type        = number
  description = "A machine's disk."
  default     = 200
}

variable "merit_role_arn" {
  type        = string
  description = "Whom Merit runs as; absent: give it its way into the cluster yourself."
  default     = null
}

variable "kubernetes_group" {
  type        = string
  description = "The group that Merit's role is a member of."
  default     = "merit-pool"
}

variable "kubeconfig" {
  type        = string
  description = "Path of the kubeconfig on Merit's machine; absent: Merit runs in the cluster."
  default     = null
}

variable "context" {
  type        = string
  description = "Of the kubeconfig; absent: its current one."
  default     = null
}

variable "namespace" {
  type        = string
  description = "Where jobs are made."
  default     = "merit"
}

variable "image" {
  type        = string
  description = "Of every pod of a job, with Ray in it."
}

variable "ray_version" {
  type        = string
  description = "Of the Ray in the image."
}

variable "tags" {
  type        = map(string)
  description = "Of all that is made here."
  default     = {}
}
