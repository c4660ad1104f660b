//! The words of an object, to look at them and to damage them.

use std::os::unix::fs::FileExt;

use ipc_core::Segment;

pub(crate) struct Words {
    file: std::fs::File,
    offset: u64,
    size: u64,
}

impl Words {
    pub(crate) fn of(segment: &Segment, name: &str) -> Self {
        let info = segment.objects().into_iter().find(|object| object.name == name).unwrap();
        let file = std::fs::File::from(segment.segment_fd().unwrap().try_clone_to_owned().unwrap());
        Self { file, offset: info.offset, size: info.size }
    }

    pub(crate) fn get(&self, at: usize) -> u64 {
        let mut word = [0; 8];
        self.file.read_exact_at(&mut word, self.offset + at as u64).unwrap();
        u64::from_le_bytes(word)
    }

    pub(crate) fn set(&self, at: usize, word: u64) {
        assert!((at as u64) < self.size);
        self.file.write_all_at(&word.to_le_bytes(), self.offset + at as u64).unwrap();
    }
}
