# What a pool on Vertex AI tells Merit. It makes nothing and needs no provider.

variable "name" { type = string }
variable "project" { type = string }
variable "region" { type = string }
variable "gcs" { type = string }
variable "service_account" { type = string }
variable "image" {
  type    = string
  default = null
}
variable "credentials_file" {
  type    = string
  default = null
}
variable "kms_key" {
  type    = string
  default = null
}
variable "labels" {
  type    = map(string)
  default = {}
}
variable "flavours" {
  type = map(object({
    machine_type = string
    accelerator  = optional(string)
    gpus         = optional(number, 0)
    cpus         = number
    memory_gib   = optional(number)
    machines     = number
    spot         = optional(bool, false)
    gpu_type     = optional(string)
    price        = object({ currency = string, per_unit_hour = string })
  }))
  validation {
    condition     = alltrue([for flavour in var.flavours : (flavour.gpus > 0) == (flavour.accelerator != null)])
    error_message = "A flavour with GPUs names their accelerator, and one without names none."
  }
}

module "merit_pool" {
  source = "../../merit-pool"
  name   = var.name
  kind   = "vertex"
  config = {
    project         = var.project
    region          = var.region
    image           = var.image
    gcs             = var.gcs
    serviceAccount  = var.service_account
    credentialsFile = var.credentials_file
    kmsKey          = var.kms_key
    labels          = length(var.labels) == 0 ? null : var.labels
    flavours = [for name, flavour in var.flavours : {
      name        = name
      machineType = flavour.machine_type
      accelerator = flavour.accelerator
      gpus        = flavour.gpus
      cpus        = flavour.cpus
      memoryGib   = flavour.memory_gib
      machines    = flavour.machines
      spot        = flavour.spot
    }]
  }
  flavours = { for name, flavour in var.flavours : name => {
    resource = flavour.gpus > 0 ? "gpu" : "cpu"
    capacity = flavour.machines * (flavour.gpus > 0 ? flavour.gpus : flavour.cpus)
    gpu_type = flavour.gpu_type
    spot     = flavour.spot
    price    = flavour.price
  } }
}

output "merit_pool" {
  value = module.merit_pool.merit_pool
}
