# What every pool module tells Merit, in one shape and checked in one place. It makes nothing.

terraform {
  required_version = ">= 1.6.0"
}

variable "name" {
  type        = string
  description = "The pool's name in Merit."
  validation {
    condition     = can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", var.name))
    error_message = "Write 1 to 63 of a-z, 0-9 and -, with neither end a -."
  }
}

variable "kind" {
  type        = string
  description = "The kind of provider: ray, kuberay, sagemaker, vertex, or any other."
}

variable "config" {
  type        = any
  description = "The provider's config. It names files that hold secrets, never a secret."
  default     = null
}

variable "flavours" {
  type = map(object({
    resource = optional(string, "gpu")
    # Whole GPUs, or CPUs where the flavour has none: the most that Merit may book, not what stands there now.
    capacity = number
    gpu_type = optional(string)
    spot     = optional(bool, false)
    price    = object({ currency = string, per_unit_hour = string })
  }))
  description = "Flavour to what it has at most, and what a unit of it costs an hour."
  validation {
    condition     = length(var.flavours) >= 1 && length(var.flavours) <= 64
    error_message = "A pool has 1 to 64 flavours."
  }
  validation {
    condition     = alltrue([for name, _ in var.flavours : can(regex("^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", name))])
    error_message = "A flavour's name is 1 to 63 of a-z, 0-9 and -, with neither end a -."
  }
  validation {
    condition     = alltrue([for flavour in var.flavours : contains(["gpu", "cpu"], flavour.resource)])
    error_message = "The resource is gpu or cpu."
  }
  validation {
    condition     = alltrue([for flavour in var.flavours : flavour.capacity >= 0 && floor(flavour.capacity) == flavour.capacity])
    error_message = "The capacity is a whole number of GPUs or CPUs."
  }
  validation {
    condition     = alltrue([for flavour in var.flavours : can(regex("^(0|[1-9][0-9]{0,12})(\\.[0-9]{2})?$", flavour.price.per_unit_hour))])
    error_message = "A price is text with no or two decimals, as in \"2.50\"."
  }
}

# Attributes that are not there are null; `merit pools import` leaves them out.
output "merit_pool" {
  description = "What `merit pools import` reads."
  value = {
    name     = var.name
    provider = { kind = var.kind, config = var.config }
    flavours = [for name, flavour in var.flavours : {
      name     = name
      resource = flavour.resource
      capacity = flavour.capacity
      gpuType  = flavour.gpu_type
      spot     = flavour.spot
      price    = { currency = flavour.price.currency, perUnitHour = flavour.price.per_unit_hour }
    }]
  }
}
