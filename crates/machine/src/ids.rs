//! Dense identifiers: an index into the list of the configuration that declares the thing.

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl $name {
            /// The position in its list.
            #[must_use]
            pub fn index(self) -> usize {
                usize::from(self.0)
            }
        }
    };
}

id! {
    /// A thread of the simulated machine.
    ThreadId(u16)
}
id! {
    /// A NUMA node.
    NodeId(u8)
}
id! {
    /// A logical CPU, by the number that the topology gives it.
    CpuId(u16)
}
id! {
    /// A mapping (VMA) of a process.
    RegionId(u16)
}
id! {
    /// A process, that is an address space.
    ProcessId(u16)
}
id! {
    /// A kind of unit of work.
    WorkId(u16)
}

/// A set of NUMA nodes; bit n is node n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeMask(pub u64);

impl NodeMask {
    /// The set with one node.
    #[must_use]
    pub fn only(node: NodeId) -> NodeMask {
        NodeMask(1 << node.0)
    }

    /// Whether `node` belongs to the set.
    #[must_use]
    pub fn contains(self, node: NodeId) -> bool {
        self.0 >> node.0 & 1 == 1
    }

    /// How many nodes it has.
    #[must_use]
    pub fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}
