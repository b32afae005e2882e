variable "name" {
  type        = string
  description = "The pool's name in Merit."
}

variable "flavours" {
  type = map(object({
    instance_type = string
    gpus          = optional(number, 0)
    cpus          = number
    # Machines: the least and the most. How many stand there is not Terraform's.
    least    = optional(number, 0)
    most     = number
    spot     = optional(bool, false)
    gpu_type = optional(string)
    # Of one GPU, or of one CPU where the type has no GPU.
    price = object({ currency = string, per_unit_hour = string })
  }))
  description = "Flavour to the workers that it has."
  validation {
    condition     = alltrue([for flavour in var.flavours : flavour.least >= 0 && flavour.least <= flavour.most])
    error_message = "The least is from 0 to the most."
  }
}

variable "subnet_ids" {
  type        = list(string)
  description = "Private subnets of one VPC; the head is in the first. They reach Secrets Manager."
  validation {
    condition     = length(var.subnet_ids) > 0
    error_message = "Name at least one subnet."
  }
}

variable "merit_cidrs" {
  type        = list(string)
  description = "Where Merit asks from. Nobody else reaches the Jobs API, which runs what it is given."
  validation {
    condition     = !contains(var.merit_cidrs, "0.0.0.0/0")
    error_message = "Name Merit's own networks, not everybody's."
  }
}

variable "domain" {
  type        = string
  description = "The name in the certificate, by which Merit asks."
}

variable "certificate_arn" {
  type        = string
  description = "ACM certificate of the domain."
}

variable "zone_id" {
  type        = string
  description = "Route 53 zone that gets the domain; absent: point it at the load balancer yourself."
  default     = null
}

variable "ami_id" {
  type        = string
  description = "An image with Ray 2.60, the AWS CLI and, for GPUs, the driver."
}

variable "user" {
  type        = string
  description = "Whom Ray runs as in the image."
  default     = "ubuntu"
}

variable "ray" {
  type        = string
  description = "The command in the image."
  default     = "/usr/local/bin/ray"
}

variable "head_instance_type" {
  type        = string
  description = "The head runs no jobs, only Ray's control and the drivers of the Jobs API."
  default     = "m6i.xlarge"
}

variable "root_device" {
  type        = string
  description = "The image's root device."
  default     = "/dev/sda1"
}

variable "volume_gib" {
  type        = number
  description = "A worker's disk."
  default     = 200
}

variable "node_policy_arns" {
  type        = list(string)
  description = "What else the nodes may do, as writing the jobs' outputs."
  default     = []
}

variable "token_secret_arn" {
  type        = string
  description = "Secrets Manager secret that holds the cluster's token as text. Terraform never reads it."
}

variable "token_file" {
  type        = string
  description = "Path, on Merit's machine, of the file with the same token."
}

variable "ca_file" {
  type        = string
  description = "Path, on Merit's machine, of a private authority's PEM; absent: a public one."
  default     = null
}

variable "tags" {
  type        = map(string)
  description = "Of all that is made here."
  default     = {}
}
