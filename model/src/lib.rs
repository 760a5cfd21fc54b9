//! World: replicas, network and disks as one value, its stateright model, properties and presets.
